"""Run the tests of the standard on a subject."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.case import Case
from attention_ref.conformance.errors import SubjectError, Unsupported
from attention_ref.conformance.onnx_nodes.node_truth import case_of
from attention_ref.conformance.onnx_nodes.standard import NodeTest, node_tests
from attention_ref.conformance.onnx_nodes.translate import translate
from attention_ref.conformance.outcome import Answer
from attention_ref.conformance.subjects.subject import Subject

BFLOAT16_RTOL = 2.0**-6
"""The minimal relative tolerance for bfloat16 in the standard's own test runner."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one test.

    Arguments:
        test: the test of the standard.
        verdict: `"passed"`, `"failed"` or `"unsupported"`.
        reason: why it is unsupported or failed.
        error_ratio: the largest error / budget, against the specification.
        distance: the largest difference / tolerance, against the standard.
    """

    test: NodeTest
    verdict: str
    reason: str = ""
    error_ratio: float = 0.0
    distance: float = 0.0


class Results(dict[str, np.ndarray]):
    """The results and intermediates of a call."""

    def __missing__(self, name: str) -> np.ndarray:
        raise Unsupported(f"the intermediate {name} is not passed to a tap")


def run(subject: Subject, tests: Iterable[NodeTest] | None = None) -> Iterator[Outcome]:
    """Run tests of the standard; all if None."""
    for test in node_tests() if tests is None else tests:
        yield _outcome(subject, test)


@cache
def cases_of(test: NodeTest) -> Mapping[str, Case]:
    """Return the cases of a test by the names of its calls."""
    return {name: case_of(recipe, test.dtype) for name, recipe in translate(test).calls.items()}


def _outcome(subject: Subject, test: NodeTest) -> Outcome:
    if lacking := {case.operation for case in cases_of(test).values()} - set(subject.operations):
        return Outcome(test, "unsupported", f"no operation {', '.join(lacking)}")
    try:
        answers = {name: subject.answer(case, test.dtype) for name, case in cases_of(test).items()}
        outputs = translate(test).answer({name: Results({**a.results, **a.taps}) for name, a in answers.items()})
    except SubjectError as fault:
        return Outcome(test, "failed", fault.reason)
    except Unsupported as reason:
        return Outcome(test, "unsupported", str(reason))
    error_ratio = max(_error_ratio(cases_of(test)[name], test.dtype, answer) for name, answer in answers.items())
    distances = {name: distance(outputs[name], expected, test) for name, expected in test.outputs.items()}
    worst = max(distances, key=distances.__getitem__)
    if distances[worst] > 1:
        return Outcome(
            test, "failed", f"{worst} differs from the expected output of the standard", error_ratio, distances[worst]
        )
    if error_ratio > 1:
        return Outcome(test, "failed", "the error of a result exceeds its budget", error_ratio, distances[worst])
    return Outcome(test, "passed", "", error_ratio, distances[worst])


def _error_ratio(case: Case, dtype: str, answer: Answer) -> float:
    """Return the largest error / budget."""
    ratios = [
        compare(answer.results[name], expected.values, budget(expected.roundings, dtype)).error_ratio.max(initial=0.0)
        for name, expected in case.expected.items()
    ]
    return float(max(ratios))


def distance(got: np.ndarray, expected: np.ndarray, test: NodeTest) -> float:
    """Return the largest difference / (atol + rtol |expected|); infinite if NaN or infinities differ."""
    if got.shape != expected.shape:
        return np.inf
    rtol = max(test.rtol, BFLOAT16_RTOL) if expected.dtype.name == "bfloat16" else test.rtol
    expected = expected.astype(np.float64)
    return float(compare(got, expected, test.atol + rtol * np.abs(expected)).error_ratio.max(initial=0.0))
