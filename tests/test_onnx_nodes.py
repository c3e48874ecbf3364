"""The ONNX standard's own tests of attention, rotary positions and RMS normalisation, in every room."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("mpmath")

from attention_ref.conformance import Subject, onnx_nodes
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.onnx_nodes import __main__ as tables
from attention_ref.conformance.onnx_nodes.standard import _collected
from tests.wrong_attentions import GALLERY, RightAttention, WrongAttention

PAGE = Path(__file__).parent.parent / "docs" / "kit" / "onnx.md"
COUNTS = {"Attention": {23: 69, 24: 13, 25: 11}, "RotaryEmbedding": {23: 8}, "RMSNormalization": {23: 19}}
"""The number of tests in onnx 1.23, by opset. A later onnx has more."""

ON_JAX = 9
"""On JAX, which compiles every operation anew for every shape, one test in so many."""


def chosen(operator: str, room: ModuleType) -> list[onnx_nodes.NodeTest]:
    tests = [test for test in onnx_nodes.node_tests() if test.operator == operator]
    is_jax = room.__name__.endswith("keras") and pytest.importorskip("keras").backend.backend() == "jax"
    return tests[::ON_JAX] if is_jax else tests


@pytest.mark.long
@pytest.mark.parametrize("operator", onnx_nodes.OPERATORS)
def test_a_room_passes_every_test(operator: str, room: ModuleType) -> None:
    tests = chosen(operator, room)
    outcomes = list(onnx_nodes.run(subject_of(room, room.__name__.rpartition(".")[-1], ""), tests))
    assert [(each.test.name, each.reason) for each in outcomes if each.verdict != "passed"] == []
    assert len(outcomes) == len(tests) > 0
    assert max(outcome.error_ratio for outcome in outcomes) > 0, "errors are measured"


def test_no_test_of_the_standard_is_left_out() -> None:
    counts = {name: Counter(test.opset for test in onnx_nodes.node_tests() if test.operator == name) for name in COUNTS}
    assert all(counts[name][opset] >= count for name, by in COUNTS.items() for opset, count in by.items())
    beginnings = ("test_attention", "test_rotary_embedding", "test_rms_normalization")
    named = {item.name for item in _collected() if item.name.startswith(beginnings)}
    ours = {f"test_{test.name}" for test in onnx_nodes.node_tests()}
    assert named == ours | {f"{name}_expanded" for name in ours}


def test_expanded_tests_are_the_same_calls() -> None:
    expanded = onnx_nodes.expanded()
    assert len(expanded) == len(onnx_nodes.node_tests())
    for test in onnx_nodes.node_tests():
        for arrays, same in zip((test.inputs, test.outputs), expanded[test.name], strict=True):
            for array, other in zip(arrays.values(), same, strict=True):
                np.testing.assert_array_equal(array, other, err_msg=test.name)


ATTENTION = [wrong for wrong in GALLERY if wrong.operation == "attention" and "float32" in wrong.dtypes]
UNNOTICED = {
    "SoftcapAfterBias": "the tests with both also ask for scores, which the gallery tells nobody",
    "ExclusionByArithmetic": "no row has -inf everywhere",
    "WeightsAfterDropout": "there is no dropout",
    "PaddingTimesZero": "what stands in padding is finite",
    "MaskAlignedLeft": "no boolean mask has three axes",
}
"""Wrong attentions that break a clause and pass all tests of the standard for it, with the reason."""


def attention_only(function: Callable[..., Any]) -> Subject:
    return Subject("attention", "numpy", {"attention": function})


def failures(subject: Subject) -> list[str]:
    return [outcome.test.name for outcome in onnx_nodes.run(subject) if outcome.verdict == "failed"]


def test_the_right_attention_of_the_gallery_passes() -> None:
    outcomes = list(onnx_nodes.run(attention_only(RightAttention().attention)))
    assert Counter(outcome.verdict for outcome in outcomes) == {"passed": 81, "unsupported": 39}
    assert {outcome.reason for outcome in outcomes if outcome.verdict == "unsupported"} == {
        "the intermediate scores is not passed to a tap",
        "no operation rotate",
        "no operation rms_norm",
    }


@pytest.mark.parametrize("wrong", ATTENTION, ids=lambda wrong: wrong.__name__)
def test_tests_fail_for_the_clauses_that_they_support(wrong: type[WrongAttention]) -> None:
    """And those that fail support the clause that is broken: the adapter tells the calls apart as the kit does."""
    supporting = {test.name for test in onnx_nodes.node_tests() if wrong.clause in tables.supported(test)}
    failed = failures(attention_only(wrong.function()))
    if supporting and wrong.__name__ not in UNNOTICED:
        assert failed
    else:
        assert not failed or wrong.pervasive
    if not wrong.pervasive:
        assert set(failed) <= supporting


def test_the_page_says_what_is_so() -> None:
    text = PAGE.read_text(encoding="utf-8")
    if f"onnx {onnx.__version__}," not in text:
        pytest.skip(f"the page is of another version than onnx {onnx.__version__}")
    assert tables.page(text) == text


def test_the_program_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(program, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(onnx_nodes.node_tests())
    assert all(" passed " in line for line in lines)
