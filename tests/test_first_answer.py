"""The first words of a check: what is the matter with what a newcomer gives it, and what to do."""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import conformance
from attention_ref.cli import main
from attention_ref.conformance import PreflightError, check, dialects, reports
from attention_ref.conformance.plain_call import Caller
from attention_ref.conformance.preflight import examine
from attention_ref.conformance.reports import text
from attention_ref.conformance.reports.findings import findings
from tests.wrong_attentions import RightAttention


def softmax(scores: Any) -> Any:
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def textbook(query, key, value, mask=None):
    """Attention as an article has it: np.sqrt is float64."""
    scores = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax(scores) @ value


def without_scale(query, key, value, mask=None, causal=False):
    scores = query @ np.swapaxes(key, -1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
    visible = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
    if causal:
        visible = visible & np.tri(*scores.shape[-2:], dtype=bool)
    return softmax(np.where(visible, scores, -np.inf)) @ value


def length_before_heads(q, k, v):
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    return np.einsum("bhqk,bkhd->bqhd", softmax(scores), v)


def length_first(q, k, v):
    scores = np.einsum("qbhd,kbhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    return np.einsum("bhqk,kbhd->qbhd", softmax(scores), v)


def folded(queries, keys, values, num_heads):
    def split(array):
        return array.reshape(*array.shape[:2], num_heads, -1).swapaxes(1, 2)

    output = textbook(split(queries), split(keys), split(values)).swapaxes(1, 2)
    return output.reshape(*output.shape[:2], -1)


def with_weights(query, key, value):
    weights = softmax(query @ np.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1]))
    return weights @ value, weights


def value_first(value, key, query):
    return textbook(query, key, value)


def true_hides(query, key, value, mask=None):
    return textbook(query, key, value, None if mask is None else ~mask)


def other_names(q, k, v, attn_mask=None):
    return textbook(q, k, v, attn_mask)


def requires_mask(query, key, value, mask):
    return textbook(query, key, value, mask)


def forgets_return(query, key, value):
    textbook(query, key, value)


def scores_only(query, key, value):
    return softmax(query @ np.swapaxes(key, -1, -2)) * value.mean()


def single(x):
    return textbook(x, x, x)


def always_causal(q, k, v):
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    return softmax(np.where(np.tri(*scores.shape[-2:]) == 1, scores, -1e9)) @ v


def of_as_many_keys_as_queries(q, k, v):
    hidden = np.triu(np.full((len(q[0, 0]),) * 2, -np.inf), 1)
    return softmax(q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1]) + hidden) @ v


def one_head(q, k, v):
    return softmax(q @ k.T / math.sqrt(len(q.T))) @ v


def lists(q, k, v):
    return one_head(q, k, v).tolist()


def requires_size(queries, keys, values, d_k, mask=None):
    scores = queries @ np.swapaxes(keys, -1, -2) / math.sqrt(d_k)
    return softmax(scores if mask is None else np.where(mask, -1e9, scores)) @ values


def requires_mask_of_zeros_and_ones(query, key, value, mask, *, training):
    return textbook(query, key, value, np.asarray(mask) == 1) if not training else None


def weights_alone(query, key):
    return softmax(query @ np.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1]))


def random(query, key, value):
    kept = np.random.default_rng().random(query.shape[:-1] + key.shape[-2:-1]) < 0.5
    return textbook(query, key, value, kept), kept


def of_length_and_one_head(q, k, v, mask=None):
    scores = np.einsum("bqd,bkd->bqk", q, k) / math.sqrt(q.shape[-1])
    return np.einsum("bqk,bkd->bqd", softmax(scores if mask is None else np.where(mask, -1e9, scores)), v)


def padded(query, key, value, key_padding_mask=None):
    mask = None if key_padding_mask is None else ~key_padding_mask[:, None, None]
    return textbook(query, key, value, mask)


class Projected:
    def __init__(self):
        self.kernel = np.eye(8)

    def __call__(self, x):
        return textbook(x @ self.kernel, x, x)


class Attention:
    def __init__(self, model, heads):
        self.model, self.heads = model, heads

    def __call__(self, query, key, value):
        return textbook(query, key, value)


MODULE = types.ModuleType("lecture")
vars(MODULE).update(attention=textbook, softmax=softmax)

REFUSED = {
    "class": (Attention, "Attention is a class, not a function: check an instance"),
    "module": (MODULE, "lecture is a module, not a function: check a function in it, such as lecture:attention"),
    "number": (3, "int is not callable, it is of type int: check a function"),
    "requires a mask": (requires_mask, "requires the argument mask, .* such as mask=None"),
    "forgets to return": (forgets_return, "returns None instead of an array of numpy: add the `return`"),
    "another shape": (scores_only, r"returns the shape \(2, 3, 4, 5\) instead of \(2, 3, 4, 8\)"),
    "random numbers": (random, "random returns other numbers whenever it is called with the same arrays"),
    "weights of its own": (Projected(), r"is a layer with weights of its own \(kernel\)"),
    "one array": (single, r"takes \(x\), and attention is called as single\(query, key, value\)"),
}
DIALECTS = {
    "length before heads": (length_before_heads, {"layout": "batch length heads size"}),
    "length first": (length_first, {"layout": "length batch heads size"}),
    "folded heads": (folded, {"layout": "batch length heads*size"}),
    "weights too": (with_weights, {"returns": ["output", "weights"]}),
    "one head": (of_length_and_one_head, {"layout": "batch*heads length size", "mask_true": "hides"}),
    "value first": (value_first, {"arguments": {"query": "query", "key": "key", "value": "value"}}),
}
REMARKS = {
    "True hides": (true_hides, {"mask_true": "hides"}, "attention/mask/keys"),
    "padding": (
        padded,
        {"key_lengths": "padding", "arguments": {"key_lengths": "key_padding_mask"}},
        "attention/padding/plain",
    ),
    "other names": (other_names, {"arguments": {"mask": "attn_mask"}}, "attention/mask/keys"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_called_is_refused_in_a_sentence(name: str) -> None:
    function, words = REFUSED[name]
    with pytest.raises(PreflightError, match=words) as caught:
        check(function)
    assert len(caught.value.sentence.splitlines()) == 1


@pytest.mark.parametrize("name", DIALECTS)
def test_another_convention_is_named_with_a_dialect_that_works(name: str, tmp_path: Path) -> None:
    function, expected = DIALECTS[name]
    with pytest.raises(PreflightError, match="is right where it is called in another way") as caught:
        check(function)
    assert expected.items() <= tomllib.loads(caught.value.dialect).items()
    file = tmp_path / "found.toml"
    file.write_text(caught.value.dialect)
    (result,) = check(function, dialect=str(file), cases="attention/core/plain", dtypes=("float64",)).results
    assert result.verdict == "passed"


WRAPPED = {
    "one head": (one_head, "right for arrays of one head", "attention/core/plain"),
    "lists": (lists, "right for arrays of one head", "attention/core/plain"),
    "weights alone": (weights_alone, "returns the weights softmax", "attention/core/plain"),
    "a mask": (requires_mask, "requires the argument mask.*such as mask=None", "attention/mask/keys"),
    "a size": (requires_size, r"requires the argument d_k.*right with d_k=queries.shape\[-1\]", "attention/mask/keys"),
    "two": (requires_mask_of_zeros_and_ones, "requires the arguments mask, training", "attention/mask/keys"),
    "causal": (of_as_many_keys_as_queries, "hides the later keys in every call", "attention/causal/square"),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_that_is_shown_can_be_checked(name: str, tmp_path: Path) -> None:
    function, words, case = WRAPPED[name]
    with pytest.raises(PreflightError, match=words) as caught:
        check(function)
    there = {function.__name__: function, "np": np}
    exec(caught.value.wrapper, there)
    (tmp_path / "found.toml").write_text(caught.value.dialect)
    dialect = str(tmp_path / "found.toml") if caught.value.dialect else None
    (result,) = check(there["checked"], dialect=dialect, cases=case, dtypes=["float64"]).results
    assert result.verdict == "passed"


def test_a_function_that_is_always_causal_gets_a_remark() -> None:
    report = check(always_causal, profiles=["core"], dtypes=["float64"])
    assert report.advice.startswith("always_causal hides the later keys in every call")


def test_a_class_is_refused_with_an_object_of_it_or_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PreflightError, match=r"such as `attention = Attention\(model=..., heads=...\)`"):
        check(Attention)
    monkeypatch.setitem(globals(), "mine", Attention(8, 2))
    with pytest.raises(PreflightError, match="check an instance of it, such as mine"):
        check(Attention)


@pytest.mark.parametrize("name", REMARKS)
def test_a_function_that_can_be_called_gets_a_remark(name: str, tmp_path: Path) -> None:
    function, expected, case = REMARKS[name]
    report = check(function, profiles=["core", "mask"], dtypes=["float64"])
    assert expected.items() <= tomllib.loads(report.suggested_dialect).items()
    (tmp_path / "found.toml").write_text(report.suggested_dialect)
    dialect = dialects.read(tmp_path / "found.toml")
    assert check(function, dialect=dialect, cases=case, dtypes=["float64"]).passed


@pytest.mark.parametrize("function", [RightAttention().attention, textbook, without_scale, Attention(8, 2)])
def test_a_right_function_is_never_refused(function: Any) -> None:
    assert examine(function, "numpy", Caller("float32")) == ("", "")


@pytest.mark.parametrize("reason", [NotImplementedError, conformance.Unsupported])
def test_what_is_not_offered_is_left_to_the_cases(reason: type[Exception]) -> None:
    def elsewhere(*_):
        raise reason("only on the second Tuesday")

    assert examine(elsewhere, "numpy", Caller("float32")) == ("", "")


def test_numbers_that_are_merely_wrong_are_left_to_the_cases() -> None:
    assert examine(lambda query, key, value: textbook(query, 2 * key, value), "numpy", Caller("float64")) == ("", "")


def test_arrays_of_torch_are_found() -> None:
    torch = pytest.importorskip("torch")

    def attention(query, key, value):
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
        return torch.softmax(scores, -1) @ value

    class Dropping(torch.nn.Dropout):
        def forward(self, query, key, value):
            return super().forward(attention(query, key, value))

    def on_gpu(query, key, value):
        return query + key.mean() + value.mean() + torch.ones(1, device="cuda")

    with pytest.raises(PreflightError, match=r'computes with arrays of torch, .* add arrays="torch" \(--arrays torch'):
        check(attention)
    assert examine(attention, "torch", Caller("float32")) == ("", "")
    builtin = torch.nn.functional.scaled_dot_product_attention
    for arrays in ("numpy", "torch"):
        with pytest.raises(PreflightError, match=r'is built in, .* add dialect="torch.sdpa"'):
            check(builtin, arrays=arrays)
    with pytest.raises(PreflightError, match=r"it is in training mode: call Dropping.eval\(\) first"):
        check(Dropping(), arrays="torch")
    with pytest.raises(PreflightError, match=r"weights of its own \(in_proj_weight, .*`attention-ref check torch.mha`"):
        check(torch.nn.MultiheadAttention(8, 2))
    if not torch.cuda.is_available():
        with pytest.raises(PreflightError, match="needs a device that is not here"):
            check(on_gpu, arrays="torch")


def test_arrays_of_tensorflow_are_found() -> None:
    tensorflow = pytest.importorskip("tensorflow")

    def attention(query, key, value):
        scores = tensorflow.matmul(query, key, transpose_b=True) / math.sqrt(query.shape[-1])
        return tensorflow.matmul(tensorflow.nn.softmax(scores), value)

    with pytest.raises(PreflightError, match=r'computes with arrays of tensorflow, .* add arrays="tensorflow"'):
        check(attention)


def test_arrays_of_jax_are_found() -> None:
    jax = pytest.importorskip("jax")

    def attention(query, key, value):
        scores = jax.numpy.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(query.shape[-1])
        return jax.nn.softmax(scores) @ value

    with pytest.raises(PreflightError, match=r'is a function of a released library: add dialect="jax.sdpa"'):
        check(jax.nn.dot_product_attention)
    with pytest.raises(PreflightError, match=r'computes with arrays of jax, .* add arrays="jax"'):
        check(attention)


# What is right is reported first, then what is wrong.


def first_lines(function: Any, **choice: Any) -> list[str]:
    return text.write(check(function, **choice), verbose=False).splitlines()[:10]


def test_values_are_judged_apart_from_their_dtype() -> None:
    report = check(textbook)
    lines = text.write(report, verbose=False).splitlines()
    assert re.search(r"computes softmax\(q k\^T / sqrt\(d\)\) v; float64 within 0\.\d\d of the budget", lines[1])
    assert "float32: values right, dtype wrong (float64)" in lines[1]
    assert lines[4].endswith("float32 inputs give float64 results (attention.precision, 74 cases)")
    assert "math.sqrt(d)" in lines[5]
    plain = next(each for each in report.results if each.case.id == "attention/core/plain" and each.dtype == "float32")
    assert (plain.verdict, plain.wrong_dtype, plain.mismatch) == ("failed", "float64", None)
    assert plain.error_ratio <= 1
    verdicts = {clause.id: clause.verdict for clause in report.clauses}
    assert (verdicts["attention.formula"], verdicts["attention.precision"]) == ("conforms", "fails")
    assert report.level.number == 1
    whole = "\n".join(lines)
    assert "look first at: attention.precision (" in whole
    assert re.search(
        r"float64: \d\d passed, \d\d failed\n +float32: 0 passed, \d\d failed, \d\d of them for the dt", whole
    )
    assert lines[0] in lines[-3:], "the verdict is repeated"


def test_a_result_of_another_dtype_can_be_wrong_too() -> None:
    def wrong(query, key, value):
        return textbook(query, key, value) + np.float64(1)

    (result,) = check(wrong, cases="attention/core/plain", dtypes=["float32"]).results
    assert result.wrong_dtype == "float64"
    assert result.mismatch is not None
    assert not result.has_right_values


def test_a_dtype_is_blamed_where_no_case_of_precision_was_chosen() -> None:
    report = check(textbook, cases="attention/core/larger", dtypes=["float32"])
    assert {clause.id for clause in report.clauses if clause.verdict == "fails"} == {"attention.precision"}
    assert not report.passed


def test_a_right_function_without_options_has_a_level_and_no_findings() -> None:
    def right(query, key, value):
        shared = query.shape[-3] // key.shape[-3]
        key, value = np.repeat(key, shared, axis=-3), np.repeat(value, shared, axis=-3)
        scores = query @ np.swapaxes(key, -1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
        if not key.shape[-2]:
            return np.zeros((*scores.shape[:-1], value.shape[-1]), query.dtype)
        return softmax(scores) @ value

    report = check(right)
    assert report.passed
    lines = text.write(report, verbose=False).splitlines()
    assert "computes softmax(q k^T / sqrt(d)) v; float64 and float32 within 0." in lines[1]
    assert any(re.match(r"  level 1 of 6 \(plain\); for formula it lacks core", line) for line in lines)
    assert findings(report) == []
    assert "none" not in "\n".join(lines[:5])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda query, key, value: textbook(query * query.shape[-1] ** 0.5, key, value), ("scale", "attention.scale")),
        (true_hides, ("True in its mask hides a key", 'mask_true = "hides"')),
    ],
    ids=["no scale", "True hides"],
)
def test_the_first_lines_say_what_is_the_matter(function: Any, words: tuple[str, ...]) -> None:
    shown = "\n".join(first_lines(function, dtypes=["float64"]))
    for word in words:
        assert word in shown


def test_what_no_common_mistake_explains_is_found_by_its_clause() -> None:
    report = check(lambda query, key, value: textbook(query, key, value) + 0.125, profiles=["core"], dtypes=["float64"])
    (finding,) = (each for each in findings(report) if not each.deviation)
    assert finding.clause == "attention.formula"
    assert "expected" in finding.example
    assert finding.correction == "output = softmax(scale * query key^T) value"


def test_a_page_has_the_findings_before_the_matrix() -> None:
    report = check(textbook, dtypes=["float32"])
    page = reports.write(report, "html")
    assert page.index('id="findings"') < page.index("float32 inputs give float64 results") < page.index('id="matrix"')


def test_findings_read_back() -> None:
    report = check(textbook, dtypes=["float32"])
    again = conformance.Report.from_dict(json.loads(json.dumps(report.to_dict())))
    assert findings(again) == findings(report)
    assert str(again) == str(report)


@pytest.mark.usefixtures("lecture")
def test_quiet_is_the_verdict_alone(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "lecture_first:textbook", "--profile", "core", "--dtype", "float64"]
    shown = {}
    for option in ("--quiet", "--verbose", ""):
        assert main([*command, *filter(None, [option])]) == 1
        shown[option] = capsys.readouterr().out
    assert re.fullmatch("lecture_first:textbook does not conform to .*\n", shown["--quiet"])
    assert "Unsupported: neither passed nor failed" in shown["--verbose"]
    assert "Unsupported: neither passed nor failed" not in shown[""]
    assert "--verbose shows" in shown[""]


@pytest.fixture
def lecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module that has these functions."""
    (tmp_path / "lecture_first.py").write_text("from tests.test_first_answer import *\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("lecture_first", None)


@pytest.mark.parametrize("command", ["ask", "diagnose"])
def test_other_commands_say_the_same(command: str, lecture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lecture / "one_file.py").write_text("from lecture_first import other_names, requires_mask as attention\n")
    assert main([command, "one_file.py:attention"]) == 2
    assert main([command, "one_file.py"]) == 2
    main([command, "one_file.py:other_names"])
    words = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert "requires the argument mask" in words
    assert "is a module, not a function: check a function in it, such as one_file.py:attention" in words
    assert (
        'other_names: more of it can be checked with a dialect: its name for mask is attn_mask arrays = "numpy"'
        in words
    )


@pytest.mark.parametrize("subject", ["lecture_first", "lecture_first:Attention", "lecture_first:length_before_heads"])
def test_the_command_ends_with_two(subject: str, lecture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", subject, "--write-dialect", "found.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert subject.rpartition(":")[2] in err
    assert (lecture / "found.toml").exists() == subject.endswith("heads")


def test_the_command_writes_the_dialect_of_a_remark(lecture: Path) -> None:
    main(["check", "lecture_first:true_hides", "--profile", "mask", "--write-dialect", "found.toml"])
    assert tomllib.loads((lecture / "found.toml").read_text())["mask_true"] == "hides"
