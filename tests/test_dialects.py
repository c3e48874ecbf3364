"""A dialect translates: what is written in it passes, the same under another dialect fails where they differ."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from attention_ref.conformance import Dialect, Exclusion, UsageError, adapted, check, diagnose
from attention_ref.conformance.dialects import named, names, read
from attention_ref.conformance.peers.versions import is_within
from attention_ref.conformance.probes import ask
from attention_ref.numpy import attention
from tests.wrong_kernels import stored

Array = np.ndarray


def swapped(query: Array, key: Array, value: Array, **options: Any) -> Any:
    """Length before heads."""
    output = attention(*(np.swapaxes(array, 1, 2) for array in (query, key, value)), **options)
    return np.swapaxes(output, 1, 2)


def packed(query: Array, key: Array, value: Array, num_heads: int, num_kv_heads: int, mask: Any = None) -> Any:
    """Length, batch, and heads one after the other."""

    def unpack(array: Array, heads: int) -> Array:
        return array.reshape(*array.shape[:2], heads, -1 if array.size else array.shape[2] // heads).transpose(
            1, 2, 0, 3
        )

    output = attention(unpack(query, num_heads), *(unpack(array, num_kv_heads) for array in (key, value)), mask=mask)
    return output.transpose(2, 0, 1, 3).reshape(*query.shape[:2], num_heads * output.shape[-1])


def folded(query: Array, key: Array, value: Array, mask: Any = None, causal: bool = False) -> Any:
    """Heads are rows of the batch, which attention knows as no heads at all."""
    mask = None if mask is None else mask[:, None]
    return attention(query[:, None], key[:, None], value[:, None], mask=mask, causal=causal)[:, 0]


def turned(query: Array, key: Array, value: Array) -> Any:
    return np.swapaxes(attention(query, key, value), 1, 2)


def weighing(query: Array, key: Array, value: Array, return_weights: bool = False) -> Any:
    output, weights = attention(query, key, value, return_weights=True)
    return (output, weights.transpose(1, 0, 3, 2)) if return_weights else output


def totalling(query: Array, key: Array, value: Array, return_log_sum_exp: bool = False) -> Any:
    output, total = attention(query, key, value, return_log_sum_exp=True)
    return (output, np.swapaxes(total, 1, 2)) if return_log_sum_exp else output


def renamed(query: Array, key: Array, value: Array, *, attn_mask: Any = None, causal: Any = None) -> Any:
    assert causal is None, "causal is a number of heads here"
    return attention(query, key, value, mask=attn_mask)


def strict(query: Array, key: Array, value: Array, mask: Any = None, *, training: bool) -> Any:
    assert not training
    return attention(query, key, value, mask=mask)


def hiding(query: Array, key: Array, value: Array, mask: Any = None) -> Any:
    return attention(query, key, value, mask=None if mask is None else ~mask)


def adding(query: Array, key: Array, value: Array, mask: Any = None) -> Any:
    return attention(query, key, value, bias=None if mask is None else mask * np.ones((), query.dtype))


def guessing(query: Array, key: Array, value: Array, mask: Any = None) -> Any:
    is_bias = mask is not None and mask.dtype.kind == "f"
    return attention(query, key, value, **{"bias" if is_bias else "mask": mask})


def counting(query: Array, key: Array, value: Array, mask: Any = None) -> Any:
    return attention(query, key, value, mask=None if mask is None else mask > 0.5)


def batched(query: Array, key: Array, value: Array, mask: Any = None) -> Any:
    return attention(query, key, value, mask=None if mask is None else mask.reshape(len(query), 1, *mask.shape[1:]))


def four(query: Array, key: Array, value: Array, mask: Any = None) -> Any:
    if mask is not None and mask.ndim < 4:
        raise ValueError("a mask has four axes")
    return attention(query, key, value, mask=mask)


def masking(query: Array, key: Array, value: Array, mask: Any = None) -> Any:
    return attention(query, key, value, mask=mask)


def cornered(query: Array, key: Array, value: Array, causal: bool = False) -> Any:
    return attention(query, key, value, causal=causal, query_offset=key.shape[-2] - query.shape[-2])


def plain(query: Array, key: Array, value: Array, causal: bool = False) -> Any:
    return attention(query, key, value, causal=causal)


def tiled(query: Array, key: Array, value: Array, mask: Any = None, bias: Any = None, sinks: Any = None) -> Any:
    times = query.shape[-3] // key.shape[-3]
    key, value = (np.concatenate([array] * times, axis=-3) for array in (key, value))
    return attention(query, key, value, mask=mask, bias=bias, sinks=sinks)


def wide(query: Array, key: Array, value: Array, causal: bool = False, window: int | None = None) -> Any:
    sides = None if window is None else (window, window)
    return attention(query, key, value, causal=causal, window=sides)


def counted(query: Array, key: Array, value: Array, causal: bool = False, window: int | None = None) -> Any:
    return wide(query, key, value, causal, None if window is None else window - 1)


def two_sided(query: Array, key: Array, value: Array, causal: bool = False, left: int = -1, right: int = -1) -> Any:
    left, right = (side if side >= 0 else None for side in (left, right))
    return attention(query, key, value, causal=causal, window=(left, right))


def padded(query: Array, key: Array, value: Array, key_padding: Any = None) -> Any:
    mask = None if key_padding is None else ~key_padding[..., None, None, :]
    return attention(query, key, value, mask=mask)


def unscaled(query: Array, key: Array, value: Array, scale: float = 1.0) -> Any:
    return attention(query, key, value, scale=scale)


def dropping(
    query: Array, key: Array, value: Array, dropout: float = 0, dropout_mask: Any = None, return_weights: bool = False
) -> Any:
    output, weights = attention(query, key, value, dropout=dropout, dropout_mask=dropout_mask, return_weights=True)
    kept = weights if dropout_mask is None else weights * dropout_mask / (1 - dropout)
    return (output, kept.astype(weights.dtype)) if return_weights else output


def averaging(query: Array, key: Array, value: Array, return_weights: bool = False) -> Any:
    output, weights = attention(query, key, value, return_weights=True)
    return (output, weights * 0 + weights.mean(-3, keepdims=True)) if return_weights else output


def telling(query: Array, key: Array, value: Array, mask: Any = None) -> Any:
    return attention(query, key, value, mask=mask, return_weights=True)


def single(query: Array, key: Array, value: Array) -> Any:
    if query.dtype != np.float32:
        raise TypeError("float32 only")
    return attention(query, key, value)


def grouped_only(query: Array, key: Array, value: Array) -> Any:
    if query.shape[-3] != key.shape[-3]:
        raise ValueError("heads differ")
    return attention(query, key, value)


def four_axes(query: Array, key: Array, value: Array) -> Any:
    if query.ndim != 4:
        raise ValueError("four axes")
    return attention(query, key, value)


class Trial(NamedTuple):
    """A function, the fields of its dialect, others under which it is wrong, where that shows, and the profiles."""

    function: Callable[..., Any]
    fields: Mapping[str, Any]
    others: Mapping[str, Any]
    clause: str
    profiles: tuple[str, ...]


PACKED = {"arguments": {"heads": "num_heads", "kv_heads": "num_kv_heads"}, "ranks": [4]}
BY_MASK = {"by_mask": ["causal", "window", "key_lengths"]}
TWO = {"window": "two distances", "arguments": {"window_left": "left", "window_right": "right"}}
PADDING = {"arguments": {"key_lengths": "key_padding"}}
FOUR = {"ranks": [4]}
EMPTY = Exclusion(("no keys",), "no keys")
MANY = Exclusion(("grouped",), "heads differ")
CORE, MASKS, WINDOWS = ("core",), ("mask", "core"), ("window", "causal")
TRIALS = {
    "layout": Trial(swapped, {"layout": "batch length heads size", **FOUR}, FOUR, "formula", CORE),
    "layout of packed heads": Trial(
        packed,
        {"layout": "length batch heads*size", **PACKED},
        {"layout": "batch length heads*size", **PACKED},
        "formula",
        ("core", "gqa"),
    ),
    "layout of folded heads": Trial(
        folded,
        {"layout": "batch*heads length size", "mask_layout": "batch*heads queries keys", "heads": "equal", **FOUR},
        {"layout": "batch*heads length size", "heads": "equal", **FOUR},
        "mask",
        MASKS,
    ),
    "output_layout": Trial(turned, {"output_layout": "batch length heads size", **FOUR}, FOUR, "formula", CORE),
    "weights_layout": Trial(
        weighing, {"weights_layout": "heads batch keys queries", **FOUR}, FOUR, "weights", ("weights", "core")
    ),
    "log_sum_exp_layout": Trial(
        totalling, {"log_sum_exp_layout": "batch queries heads", **FOUR}, FOUR, "log-sum-exp", ("lse", "core")
    ),
    "arguments": Trial(
        renamed,
        {"arguments": {"mask": "attn_mask", "causal": ""}},
        {"arguments": {"mask": "attn_mask"}},
        "causal",
        ("mask", "causal", "core"),
    ),
    "constants": Trial(strict, {"constants": {"training": False}}, {}, "formula", MASKS),
    "mask_true": Trial(hiding, {"mask_true": "hides"}, {}, "mask", MASKS),
    "mask_kind added": Trial(adding, {"mask_kind": "added"}, {}, "mask", ("mask", "bias")),
    "mask_kind boolean or added": Trial(
        guessing, {"mask_kind": "boolean or added"}, {"mask_kind": "numbers"}, "mask", ("mask", "bias")
    ),
    "mask_kind numbers": Trial(counting, {"mask_kind": "numbers"}, {"mask_kind": "added"}, "mask", MASKS),
    "hidden_score": Trial(
        adding, {"mask_kind": "added"}, {"mask_kind": "added", "hidden_score": "lowest"}, "empty-row", ("mask", "bias")
    ),
    "mask_layout": Trial(
        batched,
        {"mask_layout": "batch queries keys", **FOUR},
        {"mask_layout": "batch heads queries keys"},
        "mask",
        MASKS,
    ),
    "mask_rank": Trial(four, {"mask_rank": 4, **FOUR}, {"mask_rank": 2, **FOUR}, "mask", MASKS),
    "by_mask": Trial(masking, BY_MASK, {**BY_MASK, "mask_true": "hides"}, "causal", ("causal", "window", "padding")),
    "causal_alignment bottom right": Trial(
        cornered, {"causal_alignment": "bottom right"}, {"causal_alignment": "top left"}, "causal", ("causal", "core")
    ),
    "causal_alignment top left": Trial(
        plain, {"causal_alignment": "top left"}, {"causal_alignment": "bottom right"}, "causal", ("causal", "core")
    ),
    "heads tiled": Trial(tiled, {"heads": "tiled"}, {}, "heads", ("gqa", "sinks")),
    "heads equal": Trial(grouped_only, {"heads": "equal"}, {}, "heads", ("gqa", "core")),
    "window distance": Trial(wide, {"window": "distance"}, {"window": "count"}, "window", WINDOWS),
    "window count": Trial(counted, {"window": "count"}, {"window": "distance"}, "window", WINDOWS),
    "window two distances": Trial(
        two_sided, {**TWO, "window_open": "-1"}, {**TWO, "window_open": "None"}, "window", WINDOWS
    ),
    "window_open length": Trial(
        two_sided, {**TWO, "window_open": "length"}, {**TWO, "window_open": "None"}, "window", WINDOWS
    ),
    "key_lengths padding": Trial(
        padded, {**PADDING, "key_lengths": "padding"}, {**PADDING, "key_lengths": "keys"}, "key-lengths", ("padding",)
    ),
    "default_scale": Trial(unscaled, {"default_scale": "1"}, {}, "formula", CORE),
    "weights after dropout": Trial(
        dropping, {"weights": "after dropout"}, {}, "weights", ("dropout", "weights", "core")
    ),
    "weights averaged": Trial(averaging, {"weights": "averaged"}, {}, "weights", ("weights", "core")),
    "returns": Trial(telling, {"returns": ["output", "weights"]}, {}, "formula", ("core", "weights")),
    "dtypes": Trial(single, {"dtypes": ["float32"]}, {}, "formula", CORE),
    "ranks": Trial(four_axes, {"ranks": [4]}, {}, "batch", CORE),
    "exclusions": Trial(grouped_only, {"exclusions": [MANY, EMPTY]}, {"exclusions": [EMPTY]}, "heads", ("gqa", "core")),
}


@pytest.mark.parametrize("name", TRIALS)
def test_a_function_passes_in_its_dialect_and_fails_in_another(name: str) -> None:
    trial = TRIALS[name]
    translated = check(trial.function, dialect=Dialect(**trial.fields), profiles=trial.profiles)
    assert translated.passed, translated
    misread = check(trial.function, dialect=Dialect(**trial.others), profiles=trial.profiles)
    assert f"attention.{trial.clause}" in {each.id for each in misread.clauses if each.verdict == "fails"}


def verdicts(function: Callable[..., Any], dialect: Dialect, *profiles: str) -> dict[str, str]:
    report = check(function, dialect=dialect, profiles=profiles)
    return {each.id.partition(".")[2]: each.verdict for each in report.clauses}


def test_what_a_dialect_can_say_runs() -> None:
    found = verdicts(masking, Dialect(**BY_MASK), "causal", "window", "padding")
    assert {found[name] for name in ("causal", "query-offset", "window", "key-lengths")} == {"conforms"}
    assert verdicts(masking, Dialect(), "causal")["causal"] == "unsupported"
    assert verdicts(guessing, Dialect(mask_kind="boolean or added"), "bias")["bias"] == "conforms"
    assert verdicts(tiled, Dialect(heads="tiled"), "gqa")["heads"] == "conforms"
    assert verdicts(telling, Dialect(returns=["output", "weights"]), "weights")["weights"] == "conforms"


def test_a_dialect_is_written_as_what_makes_it_again() -> None:
    dialect = Dialect(storage="packed", layout="tokens heads size", exclusions=[Exclusion(("causal",), "no")])
    assert eval(repr(dialect)) == dialect
    assert "mask_kind" not in repr(dialect)


def test_the_reason_stands_in_the_report() -> None:
    report = check(grouped_only, dialect=Dialect(exclusions=[MANY]), profiles=["gqa"])
    assert {each.reason for each in report.results} >= {"heads differ"}


def test_what_a_dialect_says_of_a_clause_stands_beside_its_failure() -> None:
    dialect = Dialect(
        mask_kind="added", hidden_score="lowest", empty_row="mean", notes={"attention.mask": "by numbers"}
    )
    report = str(check(adding, dialect=dialect, profiles=["mask"]))
    assert "noted in its dialect: an empty row gives the mean of the values" in report
    assert dialect.note("attention.mask") == "by numbers"
    assert dialect.note("attention.bias") == ""


def test_a_name_that_the_function_lacks_is_an_error() -> None:
    with pytest.raises(
        UsageError, match=r"the dialect names attn_maks, .* its arguments are attn_mask, causal, key, query, value"
    ):
        adapted(renamed, Dialect(arguments={"mask": "attn_maks"}))


def test_a_wrong_shape_is_named_in_the_words_of_the_dialect() -> None:
    dialect = Dialect(layout="batch length heads size")
    report = check(lambda query, key, value: query, dialect=dialect, cases="attention/core/value-wider")
    expected = "output has the shape (2, 3, 2, 4) instead of (2, 3, 2, 6) (batch length heads size)"
    assert {each.reason for each in report.results} == {expected}


@pytest.mark.parametrize("name", names())
def test_named_dialects_can_be_read(name: str) -> None:
    assert named(name).library
    assert is_within("1", named(name).versions) in (True, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layuot = "batch heads length size"', "there is no field of a dialect 'layuot'; did you mean layout"),
        ('layout = "batch heads lenght size"', "there is no axis of layout 'lenght'; did you mean length"),
        ('layout = "batch heads size"', "layout: 'batch heads size' must have each of batch, heads, length, size once"),
        ('mask_true = "attend"', "there is no value of mask_true 'attend'; did you mean attends"),
        ('mask_layout = "batch heads queries key"', "there is no axis of mask_layout 'key'; did you mean keys"),
        ('[arguments]\nmaks = "attn_mask"', "there is no argument 'maks'; did you mean mask"),
        ('by_mask = "causal"', "by_mask is 'causal'; it must be a list"),
        ('by_mask = ["casual"]', "there is no option of by_mask 'casual'; did you mean causal"),
        ("mask_rank = 2.0", "mask_rank is 2.0; it must be a whole number"),
        (
            '[notes]\n"attention.empty_row" = "0"',
            "there is no clause 'attention.empty_row'; did you mean attention.empty-row",
        ),
        ('[[exclusions]]\nwhen = ["causal"]', "an exclusion must have a list `when` and a string `reason`"),
        ('[[exclusions]]\nwhen = ["caussal"]\nreason = ""', "there is no condition 'caussal'; did you mean causal"),
        ("layout = ", "is not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read(path)
    assert message in str(error.value)
    assert "own.toml" in str(error.value)


def test_missing_files_and_names_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read"):
        check(attention, dialect=str(tmp_path / "nowhere.toml"))
    with pytest.raises(UsageError, match=r"there is no dialect 'torch.spda'; did you mean torch.sdpa"):
        check(attention, dialect="torch.spda")
    with pytest.raises(UsageError, match="dialects exist for attention only, not for layer_norm"):
        check(attention, op="layer_norm", dialect="torch.sdpa")


def test_the_command_takes_a_dialect(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from attention_ref.numpy import attention\n"
        "def hiding(query, key, value, hidden=None):\n"
        "    return attention(query, key, value, mask=None if hidden is None else ~hidden)\n"
    )
    (tmp_path / "own.toml").write_text('mask_true = "hides"\n[arguments]\nmask = "hidden"\n')
    command = [sys.executable, "-m", "attention_ref", "check", "own:hiding", "--profile", "mask"]
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent)}

    def run(*more: str) -> Any:
        return subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    assert run("--dialect", "own.toml").returncode == 0
    (tmp_path / "own.toml").write_text('[arguments]\nmask = "hidden"\n')
    failed = run("--dialect", "own.toml")
    assert failed.returncode == 1
    assert "reproduce: attention-ref check own:hiding --dialect own.toml --case attention/mask/" in failed.stdout
    unknown = run("--dialect", "torch.sdap")
    assert unknown.returncode == 2
    assert "did you mean torch.sdpa" in unknown.stderr


@pytest.mark.parametrize(
    ("version", "wanted", "is_inside"),
    [
        ("2.13.0+cpu", ">=2.5,<2.14", True),
        ("2.14.0", ">=2.5,<2.14", False),
        ("2.4", ">=2.5", False),
        ("3.15.1", "==3.15.1", True),
        ("1.0", "", True),
        ("0.10.2.dev1", ">0.10.1,<=0.10.2", True),
    ],
)
def test_versions(version: str, wanted: str, is_inside: bool) -> None:
    assert is_within(version, wanted) is is_inside


# --- How sequences lie in memory (wrong kernels: test_judge_dialects.py) ----------------------------------------------


def torch_kernel(name: str) -> Callable[..., Any]:
    """Return a kernel of `wrong_kernels/stored.py` in PyTorch, which differentiates it."""
    torch = pytest.importorskip("torch", reason="the gradients are PyTorch's")
    from attention_ref.torch import attention as attend

    def one(query: Any, key: Any, value: Any, causal: bool = False) -> Any:
        tensors = (each.swapaxes(0, 1) for each in (query, key, value))
        return attend(*tensors, causal=causal, query_offset=len(key) - len(query)).swapaxes(0, 1)

    def packed(query: Any, key: Any, value: Any, query_starts: Any, key_starts: Any, causal: bool = False) -> Any:
        rows, columns = ((starts[:-1], starts[1:]) for starts in (query_starts, key_starts))
        parts = [
            one(query[a:b], key[c:d], value[c:d], causal) for a, b, c, d in zip(*rows, *columns, strict=True)
        ]  # fmt: skip
        return torch.cat(parts) if parts else query[..., : value.shape[-1]]

    def paged(query: Any, key: Any, value: Any, page_table: Any, key_lengths: Any, causal: bool = False) -> Any:
        rows = []
        for row, length in enumerate(key_lengths.tolist()):
            k, v = (each[page_table[row].long()].flatten(0, 1)[:length] for each in (key, value))
            rows.append(one(query[row], k, v, causal))
        return torch.stack(rows)

    def buffered(query: Any, key: Any, value: Any, key_lengths: Any, causal: bool = False) -> Any:
        places = range(len(query))
        return torch.stack(
            [one(query[i], key[i, : key_lengths[i]], value[i, : key_lengths[i]], causal) for i in places]
        )

    def stacked(array: Any, causal: bool = False) -> Any:
        return torch.stack([one(*row.unbind(1), causal) for row in array])

    def on_pages(
        query: Any, key: Any, value: Any, query_starts: Any, page_table: Any, key_lengths: Any, causal: bool = False
    ) -> Any:
        rows = zip(query_starts[:-1], query_starts[1:], page_table, key_lengths, strict=True)
        return torch.cat([paged(query[None, a:b], key, value, t[None], n[None], causal)[0] for a, b, t, n in rows])

    def packed_stacked(array: Any, query_starts: Any, causal: bool = False) -> Any:
        return torch.cat([stacked(array[None, a:b], causal)[0] for a, b in pairwise(query_starts)])

    kernels = {"packed": packed, "paged": paged, "packed, paged": on_pages, "buffer": buffered}
    return {**kernels, "one array": stacked, "packed, one array": packed_stacked}[name]


STORED = {
    "packed": {"layout": "tokens heads size"},
    "paged": {"layout": "batch length heads size", "page_size": 3, "page_layout": "pages slots heads size"},
    "packed, paged": {"layout": "tokens heads size", "page_size": 3, "page_layout": "pages slots heads size"},
    "buffer": {"layout": "batch length heads size"},
    "one array": {"layout": "batch length tensors heads size"},
    "packed, one array": {"layout": "tokens tensors heads size"},
}


@pytest.mark.parametrize("name", STORED)
def test_gradients_pass_through_every_storage(name: str) -> None:
    alignment = "top left" if "one array" in name else "bottom right"
    empty = Exclusion(("empty axis",), "an empty axis")
    fields = {"storage": name, "arrays": "torch", "ranks": [4], "causal_alignment": alignment, "exclusions": [empty]}
    report = check(torch_kernel(name), dialect=Dialect(**fields, **STORED[name]), dtypes=["float64"])
    assert report.passed, str(report)
    passed = {each.case.id for each in report.results if each.verdict == "passed"}
    assert any("/grad/" in each for each in passed), passed
    assert any("/causal/" in each for each in passed), passed
    assert ("padding" in {each.split("/")[1] for each in passed}) is ("one array" not in name)
    unsupported = {each.id for each in report.clauses if each.verdict == "unsupported"}
    assert unsupported >= {"attention.mask", "attention.bias", "attention.sinks"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"storage": "packed"}, "layout: 'batch heads length size' must have each of tokens, heads, size once|tokens"),
        ({"storage": "pagged"}, "there is no value of storage 'pagged'; did you mean paged"),
        ({"storage": "paged", "page_size": 0}, "page_size: 0 is less than 1"),
        ({"storage": "paged"}, "storage 'paged' needs a name for page_table and key_lengths among the arguments"),
        (
            {"storage": "packed, paged", "layout": "tokens heads size"},
            "needs a name for query_starts and page_table and key_lengths or key_starts",
        ),
    ],
)
def test_what_is_wrong_with_a_storage_is_said(fields: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        adapted(plain, Dialect(**fields))


def test_a_mistake_in_packed_sequences_is_diagnosed_and_questions_are_answered() -> None:
    kernel, dialect = stored.RIGHT["packed"]

    def scaled(query: Array, *others: Any, **options: Any) -> Any:
        return kernel(query / np.sqrt(query.shape[-1]), *others, **options)

    scaled.__wrapped__ = kernel  # type: ignore[attr-defined]
    found = diagnose(scaled, dialect=dialect)
    assert "scale.inverse-d" in str(found)
    assert ask(kernel, dialect, "default-scale") == "1/sqrt(size)"
    assert ask(kernel, dialect, "causal-alignment") == "bottom right"
