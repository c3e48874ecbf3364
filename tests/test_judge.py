"""The judge of kernels: right kernels pass, wrong and cheating ones are rejected, and nothing of them remains."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import conformance, spec
from attention_ref.cli import main
from attention_ref.commands import paths
from attention_ref.conformance import UsageError, judge
from attention_ref.conformance.judge.contents import contents, decoded, encoded
from attention_ref.conformance.judge.scenario import Scenario, parse
from attention_ref.conformance.judge.scenarios import draw
from attention_ref.conformance.judge.situations import Size
from attention_ref.conformance.judge.truth import chosen
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION
from tests.wrong_kernels import cheats, right
from tests.wrong_kernels.planted import MISTAKES, Mistake
from tests.wrong_kernels.planted_styles import STYLE_MISTAKES

pytestmark = pytest.mark.bare
judged = partial(judge, small=True, most_failures=1)

# --- Kernels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", right.RIGHT.values(), ids=right.RIGHT)
def test_a_right_kernel_passes(kernel: Callable[..., Any]) -> None:
    judgement = judged(kernel, seed=1)
    assert judgement.passed, str(judgement)
    assert not judgement.unsupported
    assert not judgement.not_deterministic


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_a_right_kernel_passes_in_every_dtype(dtype: str) -> None:
    pytest.importorskip("ml_dtypes", reason="NumPy has bfloat16 only with this package")
    judgement = judged(right.base_two, seed=3, dtypes=[dtype])
    assert judgement.passed, str(judgement)


ALL_MISTAKES = MISTAKES | STYLE_MISTAKES
SOME = [*list(MISTAKES)[::5], *list(STYLE_MISTAKES)[3::7], "the maximum begins at 0", "results are kept by the query"]
SOME += ["the head after its last whole vector is left out", "values after their last whole vector are not written"]
SOME += ["the bias is that of the first batch row", "the mask is left out beside a window"]


@pytest.mark.parametrize("name", SOME)  # all of them: python -m tests.judge_evidence
def test_a_wrong_kernel_is_rejected_by_the_options_that_show_its_mistake(name: str) -> None:
    judgement = judged(ALL_MISTAKES[name].planted(), seed=4)
    assert re.search("wrong numbers|results of an earlier call", judgement.reasons[0]), str(judgement)
    assert judgement.smallest is not None
    options = judgement.smallest.scenario.id.split("/")[2]
    assert re.search(ALL_MISTAKES[name].needed, options), str(judgement)


@pytest.mark.parametrize(("cheat", "reason"), cheats.CHEATS.items(), ids=lambda item: getattr(item, "__name__", ""))
def test_a_cheat_is_rejected_for_what_it_does(cheat: Callable[..., Any], reason: str) -> None:
    judgement = judged(cheat, seed=5)
    assert not judgement.passed
    assert re.search(reason, judgement.reasons[0]), str(judgement)


@pytest.mark.parametrize("head_size", [16, 33, 100, 256])
def test_one_key_of_1024_is_missed_in_bfloat16_and_a_ten_thousandth_of_the_scale_in_float32(head_size: int) -> None:
    pytest.importorskip("ml_dtypes", reason="NumPy has bfloat16 only with this package")
    sizes = f"b1.h1.g1.q65.k1024.d{head_size}.v{head_size}/plain/normal"
    assert not judge(cheats.drops_a_key, seed=6, case=f"bfloat16/{sizes}").passed
    scaled = MISTAKES["the scale is off by one part in ten thousand"].planted()
    assert not judge(scaled, seed=6, case=f"float32/{sizes}").passed
    assert judge(right.in_float64, seed=6, case=f"bfloat16/{sizes}").passed


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scores_in_half_precision_are_rejected_as_such(dtype: str) -> None:
    """As keras.ops on TensorFlow, x_transformers, nested tensors and ONNX Runtime in float16 compute them."""
    pytest.importorskip("ml_dtypes", reason="NumPy has bfloat16 only with this package")
    rounded = Mistake(right.in_float64, "q @ k.swapaxes(-1, -2) /", "(q @ k.swapaxes(-1, -2)).astype(query.dtype) /")
    judgement = judge(rounded.planted(), case=f"{dtype}/b1.h2.g1.q65.k300.d64.v64/plain/outliers", seed=1)
    assert f"as far off as scores or sums in {dtype} instead of float32 make them" in judgement.reasons[0]
    assert judgement.smallest is not None
    assert judgement.smallest.reason == judgement.reasons[0]


# --- What is refused -------------------------------------------------------------------------------------------------


def refusing(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Takes one head size, and says so in two ways."""
    if query.shape[-1] != 64:
        raise ValueError("the head size must be 64")
    if value.shape[-1] != 64:
        raise NotImplementedError("values of another size")
    return right.online(query, key, value)


def test_what_is_refused_is_listed_and_asked_in_a_size_that_is_not() -> None:
    judgement = judged(refusing, seed=7)
    assert judgement.passed
    assert set(judgement.unsupported) == {"the head size must be 64", "values of another size"}
    passed = {outcome.scenario for outcome in judgement.having("passed")}
    assert {64} == {scenario.head_size for scenario in passed}
    assert {scenario.keys for scenario in passed} >= {1, 7, 63, 64, 65, 127, 128, 129, 255, 256, 257}


def test_a_kernel_that_refuses_everything_has_not_passed() -> None:
    def nothing(query: Any, key: Any, value: Any) -> Any:
        raise NotImplementedError

    judgement = judged(nothing)
    assert not judgement.passed
    assert judgement.reasons == ("nothing that it supports was judged in float32",)


def test_shapes_that_do_not_fit_inside_the_kernel_are_no_refusal() -> None:
    def misfit(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        return query @ np.concatenate([key, value], -1).swapaxes(-1, -2)

    judgement = judged(misfit)
    assert not judgement.passed
    assert "ValueError" in judgement.reasons[0]


def test_a_kernel_that_is_not_asked_everything_has_not_passed() -> None:
    judgement = judged(right.online, budget_seconds=0)
    assert not judgement.passed
    assert not judgement.outcomes
    assert judgement.not_asked


# --- Calls -----------------------------------------------------------------------------------------------------------

EVERY = [scenario for seed in range(4) for scenario in draw(seed, None, ["float32"], "full")]


def test_the_calls_have_every_edge_option_and_pair() -> None:
    drawn = draw(10, None, ["float32"], "full")
    edges = {1, 7, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 1024, 2048}
    assert {scenario.keys for scenario in drawn} >= edges
    assert {scenario.queries for scenario in drawn} >= {n for n in edges if n <= 257}
    assert frozenset().union(*(scenario.options for scenario in drawn)) == set(ATTENTION.options)
    for pair in combinations(set(ATTENTION.options) - {"query_offset", "dropout_mask"}, 2):
        assert any(set(pair) <= scenario.options and scenario.batch > 1 for scenario in drawn), pair
    assert any({"causal", "query_offset"} <= scenario.options for scenario in drawn)
    assert any(scenario.bias.endswith("bhqk") and scenario.batch > 1 for scenario in drawn)
    assert {scenario.heads // scenario.groups for scenario in drawn} >= {1, 4, 8}
    assert max(scenario.heads for scenario in drawn) > 8
    assert max(scenario.batch for scenario in drawn) > 2
    assert any(scenario.head_size % 8 == 0 and scenario.head_size % 32 for scenario in drawn)
    assert any(scenario.head_size != scenario.value_size for scenario in drawn)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize(("size", "count"), [("small", 6), ("full", 8)])
def test_the_calls_have_head_and_value_sizes_between_those_of_kernels(
    size: Size, count: int, *, gradients: bool
) -> None:
    without_options = draw(11, frozenset(), ["float32"], size, gradients=gradients)
    ranges = ((1, 1), (2, 7), (9, 15), (17, 31), (33, 63), (65, 95), (97, 127), (129, 255))[:count]
    for low, high in ranges:
        for name in ("head_size", "value_size"):
            sizes = {getattr(scenario, name) for scenario in without_options}
            assert any(low <= each <= high and each % 8 for each in sizes), (name, low, high)
    assert any(scenario.head_size % 8 and scenario.value_size == scenario.head_size for scenario in without_options)
    assert any(scenario.head_size % 8 == 0 for scenario in without_options)


def test_seeds_draw_other_calls_and_a_seed_the_same() -> None:
    assert draw(1, None, ["float32"], "small") == draw(1, None, ["float32"], "small")
    assert {s.id for s in draw(1, None, ["float32"], "small")} != {s.id for s in draw(2, None, ["float32"], "small")}


def test_options_that_a_signature_lacks_are_left_out() -> None:
    drawn = draw(1, frozenset({"causal", "window"}), ["float32"], "small")
    assert {frozenset(), frozenset({"causal"}), frozenset({"window"})} <= {scenario.options for scenario in drawn}
    assert all(scenario.options <= {"causal", "window"} for scenario in drawn)


def test_an_id_is_read_as_the_call_that_it_is_of() -> None:
    assert all(parse(scenario.id) == scenario for scenario in EVERY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "float32/b1.h1.g1.q1.k1.d1.v1/plain",
        "float8/b1.h1.g1.q1.k1.d1.v1/plain/normal",
        "float32/b1.h3.g2.q1.k1.d1.v1/plain/normal",
        "float32/b1.h1.g1.q1.k1.d1.v1/plain/unusual",
        "float32/b1.h1.g1.q1.k1.d1.v1/lengths=2/normal",
        "float32/b1.h1.g1.q1.k1.d1.v1/mask=random/normal",
        "float32/b1.h1.g1.q9.k1.d1.v1/window=1+1/normal",
        "float32/b1.h1.g1.q1.k1.d1.v1/rotary/normal",
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no call to judge"):
        judge(right.online, case=text)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_exactly_representable(dtype: str) -> None:
    for distribution in ("normal", "outliers", "ties", "large", "tiny", "constant", "dominant", "low"):
        scenario = parse(f"{dtype}/b1.h2.g1.q7.k9.d16.v24/bias=normal.qk,sinks/{distribution}")
        for array in contents(scenario, 1).tensors.values():
            assert all(DTYPES[dtype].holds(float(number)) for number in array.ravel())
            assert np.array_equal(decoded(encoded(array, dtype), dtype), array)


def test_every_query_sees_a_key() -> None:
    small = [scenario for scenario in draw(11, None, ["float32"], "small") if scenario.queries * scenario.keys < 80000]
    assert {"mask", "bias", "window", "key_lengths"} <= frozenset().union(*(scenario.options for scenario in small))
    for scenario in small:
        given = contents(scenario, 11).for_truth()
        visible = _visible(scenario, given)
        assert visible.any(axis=-1).all(), scenario.id


def _visible(s: Scenario, given: dict[str, Any]) -> np.ndarray:
    """Return which keys are visible, by the specification's rules written out once more."""
    offsets = np.broadcast_to(given.get("query_offset", 0), s.batch)
    lengths = np.broadcast_to(given.get("key_lengths", s.keys), s.batch)
    distance = np.arange(s.keys) - (np.arange(s.queries)[None, :, None] + offsets[:, None, None])
    left, right_ = given.get("window") or (None, None)
    seen = np.arange(s.keys) < lengths[:, None, None]
    seen = seen & (distance <= 0 if s.causal else True)
    seen = (
        seen & (distance >= -left if left is not None else True) & (distance <= right_ if right_ is not None else True)
    )
    shape = (s.batch, s.heads, s.queries, s.keys)
    seen = np.broadcast_to(seen[:, None], shape)
    return seen & given.get("mask", True) & (given.get("bias", np.zeros(1)) > -np.inf)


def test_both_sides_of_every_tile_edge_are_among_the_rows_whose_truth_is_computed() -> None:
    scenario = parse("float32/b1.h8.g2.q2048.k2048.d128.v128/plain/normal")
    heads, rows = chosen(scenario, np.random.default_rng(0))
    assert {0, 7} <= set(heads)
    assert len(rows) < 2048
    edges = [*range(64, 2048, 64), 16, 32, 48, 80, 96, 112]
    assert {0, 2047} | set(edges) | {edge - 1 for edge in edges} <= set(rows)


def test_the_truth_is_that_of_the_specification() -> None:
    """A kernel that runs the specification passes; the judge's truth is otherwise the oracle's alone."""

    def specified(query: np.ndarray, key: np.ndarray, value: np.ndarray, **options: Any) -> np.ndarray:
        arrays = [spec.as_array(array.astype(float).tolist()) for array in (query, key, value)]
        return np.array(spec.attention(*arrays, **options).nested(), query.dtype)

    for options in ("plain", "causal,offset=2,window=2+open", "scale=0.25", "softcap=2.0"):
        case = f"float32/b1.h4.g2.q5.k7.d16.v24/{options}/normal"
        judgement = judge(specified, case=case)
        assert judgement.passed, str(judgement)


# --- The command -----------------------------------------------------------------------------------------------------

KERNELS = str(Path(right.__file__))


def test_the_command_judges_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    code = main(["judge", f"{KERNELS}:base_two", "--small", "--seed", "12", "--json", str(record)])
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == lines[-1]
    assert lines[0].startswith("RIGHT:")
    assert any("seed: 12" in line for line in lines[:10])
    assert json.loads(record.read_text())["passed"] is True


def test_the_command_judges_one_path_of_a_backend(tmp_path: Path) -> None:
    record, case = tmp_path / "record.json", "float32/b1.h2.g2.q5.k7.d16.v16/causal/normal"
    assert main(["judge", "numpy:reference", "--case", case, "--json", str(record)]) == 0
    assert paths.numpy_reference.keywords == {"implementation": "reference"}
    assert json.loads(record.read_text())["subject"].endswith("numpy_reference")


def test_the_command_says_first_what_is_wrong_and_replays_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = (
        Path(KERNELS).read_text().replace("end = min(keys, rows[-1] + 1) if causal else keys", "end = keys // 32 * 32")
    )
    (tmp_path / "wrong.py").write_text(source)
    assert main(["judge", f"{tmp_path}/wrong.py:base_two", "--small"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[-1]
    assert lines[0].startswith("WRONG:")
    replay = next(line for line in lines[:10] if line.startswith("replay: attention-ref"))
    assert any(line.startswith("smallest failing call") for line in lines[:10])
    assert main(shlex.split(replay.removeprefix("replay: attention-ref "))) == 1
    assert "fails in 1 of 1 calls" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["no_such_module:f"],
        [f"{KERNELS}:no_such_function"],
        ["no_such_file.py:f"],
        ["nothing"],
        [f"{KERNELS}:ROWS"],
        [f"{KERNELS}:online", "--dtype", "float8"],
        [f"{KERNELS}:online", "--arrays", "lists"],
        [f"{KERNELS}:online", "--dialect", "klingon"],
        [f"{KERNELS}:online", "--case", "plain"],
        [f"{KERNELS}:online", "--seed", "-1"],
        [f"{KERNELS}:online", "--budget-seconds", "-1"],
    ],
)
def test_senseless_commands_end_with_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", *arguments]) == 2
    assert capsys.readouterr().err.startswith("attention-ref: ")


def test_the_door_has_the_judge() -> None:
    assert {"judge", "Judgement"} <= set(conformance.__all__)
