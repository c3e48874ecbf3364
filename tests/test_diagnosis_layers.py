"""A diagnosis names what a wrong layer, model or other operation computes, and finds nothing in right ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import attention_ref.numpy
from attention_ref import cli
from attention_ref.conformance import OPERATIONS, cases, check, diagnose, room
from attention_ref.conformance.case import all_cases
from attention_ref.conformance.diagnosis import EVERY, Explanation, diagnose_subject, explain_call
from attention_ref.conformance.diagnosis.operation_formula import OperationFormula
from attention_ref.spec.clauses import clauses
from attention_ref.spec.config import FeedForwardConfig
from attention_ref.spec.parameters import parameters as tree
from attention_ref.vectors.call import Call
from tests.test_diagnosis import SLUGS as OF_ATTENTION
from tests.wrong_attentions import GALLERY as ATTENTIONS
from tests.wrong_attentions.other_mistakes import OTHER_MISTAKES
from tests.wrong_layers import GALLERY, WrongLayer
from tests.wrong_layers.other_mistakes import MISTAKES
from tests.wrong_layers.record import Mistake

pytestmark = pytest.mark.bare


def title(wrong: WrongLayer) -> str:
    return f"{wrong.operation}, {wrong.clause}: {wrong.title}"


def test_every_wrong_layer_is_diagnosed_but_three_of_latent_attention() -> None:
    assert [wrong.title for wrong in GALLERY if not wrong.slug] == [
        "A rotary key for each head",
        "Latents normalised again",
        "Keys rotated again",
    ]


@pytest.mark.parametrize("wrong", [wrong for wrong in GALLERY if wrong.slug], ids=title)
def test_a_wrong_layer_is_diagnosed_with_its_slug_and_no_other(wrong: WrongLayer) -> None:
    found = diagnose(wrong.subject, op=wrong.operation)
    assert not found.conforms
    assert [finding.deviation for finding in found.findings] == [wrong.slug]


CASES = {case.id: case.clauses for case in all_cases()}
"""The clauses of every case."""


def of_attention() -> list[Mistake]:
    return [Mistake(wrong.slug, "attention", wrong().attention) for wrong in OTHER_MISTAKES]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "mistake", [*of_attention(), *MISTAKES], ids=lambda mistake: f"{mistake.operation}: {mistake.slug}"
)
def test_every_other_mistake_is_diagnosed_with_its_slug_and_breaks_its_clause(mistake: Mistake) -> None:
    found = diagnose(mistake.subject, op=mistake.operation)
    assert [finding.deviation for finding in found.findings] == [mistake.slug]
    assert len(found.unexplained) < len(found.wrong)
    (finding,) = found.findings
    assert any(finding.clause in CASES[case] for case in found.wrong) or clauses()[finding.clause].foundation


def test_every_deviation_is_shown_by_a_wrong_implementation() -> None:
    shown = {slug for slugs in OF_ATTENTION.values() for slug in slugs} | {wrong.slug for wrong in GALLERY}
    shown |= {"additive.tanh-missing", "additive.kernels-ignored", "additive.kernels-exchanged", "visibility.ignored"}
    shown |= {"multiplicative.scaled", "multiplicative.kernel-transposed"}
    shown |= {mistake.slug for mistake in (*of_attention(), *MISTAKES)}
    assert {deviation.slug for deviation in EVERY} <= shown


@pytest.mark.parametrize(
    ("name", "slugs"),
    [
        ("AdditiveWithoutTanh", ["additive.tanh-missing"]),
        ("AdditiveWithoutKernels", ["additive.kernels-ignored"]),
        ("AdditiveKernelsSwapped", ["additive.kernels-exchanged"]),
        ("AdditiveSeesEverything", ["visibility.ignored"]),
        ("MultiplicativeScaled", ["multiplicative.scaled"]),
        ("MultiplicativeKernelTransposed", ["multiplicative.kernel-transposed"]),
        ("MultiplicativeSeesEverything", ["visibility.ignored"]),
    ],
)
def test_a_wrong_attention_with_other_scores_is_diagnosed(name: str, slugs: list[str]) -> None:
    (wrong,) = (each for each in ATTENTIONS if each.__name__ == name)
    assert [each.deviation for each in diagnose(wrong.function(), op=wrong.operation).findings] == slugs


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_right_operation_has_no_finding(operation: str) -> None:
    found = diagnose_subject(room(attention_ref.numpy, "numpy", ""), operation)
    assert found.conforms
    assert not found.findings
    assert not found.unexplained


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each != "attention"])
def test_the_formula_has_every_option_and_gives_the_expected_values(operation: str) -> None:
    of_operation = [case for case in all_cases() if case.operation == operation and case.dtypes]
    assert of_operation
    for case in of_operation:
        found = OperationFormula().results(case.call, "float64")
        for name in found.keys() & case.expected.keys():
            np.testing.assert_allclose(found[name], case.expected[name].values, 1e-9, 1e-11, err_msg=case.id)


FEEDFORWARD = FeedForwardConfig(model=16, hidden=24, activation="silu", gated=True)


def call_of(config: FeedForwardConfig) -> tuple[Call, Callable[[FeedForwardConfig], np.ndarray]]:
    """Return a call of a feed-forward network of real size, and the float32 output of NumPy's for any configuration."""
    random = np.random.default_rng(0)
    parameters = {name: random.normal(0, 0.3, each.shape).astype("f4") for name, each in tree(config).items()}
    array = random.normal(size=(2, 5, config.model)).astype("f4")
    call = Call("FeedForward", {"array": array.astype("f8")}, config=config, parameters=_widened(parameters))
    return call, lambda other: attention_ref.numpy.FeedForward(other, parameters)(array)


def _widened(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.astype("f8") for name, array in arrays.items()}


def test_one_call_of_a_layer_is_explained() -> None:
    call, output = call_of(FEEDFORWARD)
    (found,) = explain_call(call, {"output": output(replace(FEEDFORWARD, activation="gelu"))}, "float32").findings
    assert found.deviation == "activation.gelu-for-silu"
    assert found.clause == "activations.silu"
    assert found.cases == ("the call",)


def test_a_right_call_and_one_that_nothing_explains_have_no_finding() -> None:
    call, output = call_of(FEEDFORWARD)
    right = output(FEEDFORWARD)
    assert explain_call(call, {"output": right}, "float32") == Explanation()
    assert explain_call(call, {"output": np.flip(right, axis=-1)}, "float32") == Explanation()


def test_what_is_allowed_decides_whether_a_call_is_right() -> None:
    (case,) = (each for each in cases("rms_norm", "core") if each.call.options["eps"] == 1e-5)
    shifted = case.expected["output"].values * (1 + 1e-4)
    assert explain_call(case.call, {"output": shifted}, "float64") == Explanation()
    assert explain_call(case.call, {"output": shifted}, "float64", allowed={"output": np.abs(shifted)}) == Explanation()


def wrong_norm(array: Any, gain: Any, bias: Any = None, *, eps: float, gain_offset: float = 0.0) -> Any:  # noqa: ARG001
    return attention_ref.numpy.layer_norm(array, gain, bias, eps=1e-3, gain_offset=gain_offset)


def test_the_command_diagnoses_any_operation(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", f"{__name__}:wrong_norm", "--operation", "layer_norm"]) == 1
    text = capsys.readouterr().out
    assert "norm.eps: eps is 0.001, whatever is configured" in text
    assert "correct: pass the configured eps on" in text


def test_a_check_of_a_layer_begins_with_its_diagnosis() -> None:
    text = str(check(wrong_norm, op="layer_norm")).splitlines()
    assert any("eps is 0.001" in line for line in text[:10])
