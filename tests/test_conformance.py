"""The kit as a tool: right functions conform, wrong ones of every kind do not, and the report says why."""

from __future__ import annotations

import functools
import json
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attention_ref import conformance, spec, vectors
from attention_ref.conformance import KINDS, Subject, Unsupported, UsageError, check, check_subject
from attention_ref.conformance.signatures import options_of
from attention_ref.vectors.array_forms import to_spec

PLAIN = "attention/core/plain"
LOW = {"float16", "bfloat16"}


def right(query: np.ndarray, key: np.ndarray, value: np.ndarray, **options: Any) -> Any:
    """The specification itself on float64, rounded once to the dtype of the inputs."""
    given = {name: to_spec(item) if isinstance(item, np.ndarray) else item for name, item in options.items()}
    results = spec.attention(*(to_spec(array) for array in (query, key, value)), **given)
    rounded = [
        np.array(result.values, np.float64).reshape(result.shape).astype(_dtype(query, len(result.shape)))
        for result in (results if isinstance(results, tuple) else (results,))
    ]
    return tuple(rounded) if isinstance(results, tuple) else rounded[0]


def _dtype(query: np.ndarray, rank: int) -> Any:
    is_log_sum_exp = rank < query.ndim
    return np.float32 if is_log_sum_exp and query.dtype.name in LOW else query.dtype


def changed(change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda query, key, value, **options: change(right(query, key, value, **options))


def scaled(factor: float) -> Callable[..., Any]:
    def attention(query: Any, key: Any, value: Any, *, scale: float | None = None, **options: Any) -> Any:
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return right(query, key, value, scale=scale * factor, **options)

    return attention


def without_causal(query: Any, key: Any, value: Any, *, causal: bool = False, **options: Any) -> Any:  # noqa: ARG001
    return right(query, key, value, **options)


def leaking(query: Any, key: Any, value: Any, *, mask: Any = None, causal: bool = False) -> Any:
    """Right but for NaN in hidden values, which reach the output as in every released library: 0 * NaN is NaN."""
    options = {"mask": mask, "causal": causal}
    _, weights = right(query, key, np.where(np.isfinite(value), value, 0), return_weights=True, **options)
    value = np.repeat(value, weights.shape[-3] // value.shape[-3], axis=-3)
    return (weights.astype(np.float64) @ value).astype(query.dtype)


def verdicts(report: conformance.Report) -> dict[str, str]:
    return {clause.id: clause.verdict for clause in report.clauses}


@pytest.mark.parametrize("dtypes", [("float64", "float32"), ("float16",), ("bfloat16",)], ids="-".join)
def test_the_specification_conforms_to_itself(dtypes: tuple[str, ...]) -> None:
    if "bfloat16" in dtypes:
        pytest.importorskip("ml_dtypes")
    report = check(right, dtypes=dtypes, profiles=vectors.profiles("attention"))
    assert report.passed, str(report)
    assert set(verdicts(report).values()) == {"conforms"}
    assert {result.verdict for result in report.results} == {"passed"}
    report.raise_for_failures()


@pytest.mark.parametrize("factor", [1.0001, 0.9999])
def test_a_scale_off_by_one_part_in_ten_thousand_fails_in_float32(factor: float) -> None:
    report = check(scaled(factor), dtypes=("float32",), profiles=("core",))
    assert verdicts(report)["attention.scale"] == "fails"
    assert check(scaled(1.0), dtypes=("float32",), profiles=("core",)).passed


def _raises(query: Any, key: Any, value: Any) -> Any:  # noqa: ARG001
    raise ZeroDivisionError("on\npurpose")


def _exits(query: Any, key: Any, value: Any) -> Any:  # noqa: ARG001
    sys.exit(0)


def _changes_its_input(query: Any, key: Any, value: Any) -> Any:
    output = right(query, key, value)
    key *= 2
    return output


def _poke(number: float) -> Callable[[np.ndarray], np.ndarray]:
    def poke(output: np.ndarray) -> np.ndarray:
        output[1, 0, 2, 3] = number
        return output

    return poke


WRONG = {
    "raises": (_raises, "it raises ZeroDivisionError: on purpose"),
    "exits": (_exits, "it raises SystemExit: 0"),
    "shape": (changed(lambda output: output[..., :1]), "output has the shape (2, 2, 3, 1) instead of (2, 2, 3, 4)"),
    "rank": (changed(lambda output: output[0]), "output has the shape (2, 3, 4) instead of (2, 2, 3, 4)"),
    "dtype": (changed(lambda output: output.astype("float32")), "output has the dtype float32 instead of float64"),
    "integers": (changed(lambda output: output.astype("int64")), "output has the dtype int64 instead of float64"),
    "objects": (changed(lambda output: output.astype(object)), "output has the dtype object instead of float64"),
    "nan": (changed(_poke(math.nan)), "output[1, 0, 2, 3]: expected"),
    "infinity": (changed(_poke(math.inf)), "got inf"),
    "an object": (changed(lambda _: object()), "output is a builtins.object, not an array of NumPy"),
    "a list": (changed(lambda output: output.tolist()), "output is a list of 2, not an array of NumPy"),
    "nothing": (changed(lambda _: None), "output is None, not an array of NumPy"),
    "a pair": (changed(lambda output: (output, output)), "output is a tuple of 2, not an array of NumPy"),
    "changes its input": (_changes_its_input, "it mutates its argument key"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_function_fails_and_the_report_says_why(name: str) -> None:
    function, words = WRONG[name]
    report = check(function, cases=PLAIN, dtypes=("float64",))
    assert not report.passed
    assert [result.verdict for result in report.results] == ["failed"]
    assert words in str(report)


def test_the_line_that_raised_is_shown() -> None:
    assert 'raise ZeroDivisionError("on\\npurpose")' in str(check(_raises, cases=PLAIN))


@pytest.mark.parametrize("returned", [1, 3])
def test_the_number_of_results_is_checked(returned: int) -> None:
    function = changed(lambda results: (*results, results[0])[:returned])
    (result,) = check(function, cases="attention/weights/plain", dtypes=("float64",)).results
    assert result.reason == f"it returns {returned} values instead of a tuple (output, weights)"


def test_a_failure_names_everything_that_is_needed_to_find_it() -> None:
    (case,) = (case for case in conformance.cases("attention", "core") if case.id == PLAIN)
    expected = case.expected["output"].values[1, 0, 2, 3]
    report = check(changed(_poke(7.0)), cases=PLAIN, dtypes=("float64",), name="mine")
    mismatch = report.results[0].mismatch
    assert mismatch is not None
    assert (mismatch.array, mismatch.index, mismatch.off, mismatch.size) == ("output", (1, 0, 2, 3), 1, 48)
    assert (mismatch.expected, mismatch.got, mismatch.error) == (expected, 7.0, 7.0 - expected)
    place = f"output[1, 0, 2, 3]: expected {expected:.17g}, got 7\n"
    line = f'conformance.check(<lambda>, cases="{PLAIN}", dtypes=("float64",))'
    for words in (f"mine does not conform to specification {spec.VERSION}", PLAIN, case.catches, place, line):
        assert words in str(report)
    with pytest.raises(conformance.ConformanceError, match="mine does not conform"):
        report.raise_for_failures()


def test_a_missing_option_is_unsupported_and_not_passed() -> None:
    def attention(query: Any, key: Any, value: Any, mask: Any = None) -> Any:
        return right(query, key, value, mask=mask)

    report = check(attention)
    assert report.passed
    assert verdicts(report)["attention.mask"] == "conforms"
    assert verdicts(report)["attention.window"] == "unsupported"
    assert "no argument window" in str(report)
    assert "in what it supports" in str(report)


@pytest.mark.parametrize("reason", ["only on Tuesdays", ""])
def test_what_raises_unsupported_is_unsupported_with_its_reason(reason: str) -> None:
    def attention(query: Any, key: Any, value: Any) -> Any:
        if query.dtype == np.float32:
            raise Unsupported(reason)
        return right(query, key, value)

    report = check(attention, cases=PLAIN)
    assert [result.verdict for result in report.results] == ["passed", "unsupported"]
    assert f"in float32: {reason or 'without a reason'}" in str(report)


def test_a_function_for_which_nothing_ran_has_not_passed() -> None:
    report = check(lambda query, key, value: right(query, key, value), profiles=("causal",))  # noqa: PLW0108
    assert not report.passed
    assert "nothing ran" in str(report)
    with pytest.raises(conformance.ConformanceError):
        report.raise_for_failures()


def test_a_dtype_that_the_arrays_lack_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    (result,) = check(right, cases=PLAIN, dtypes=("bfloat16",)).results
    assert (result.verdict, result.reason) == ("unsupported", "NumPy has bfloat16 only with the package ml_dtypes")


def test_a_clause_is_blamed_and_its_foundation_is_not() -> None:
    report = check(without_causal, profiles=("core", "causal"), dtypes=("float64",))
    found = verdicts(report)
    assert found["attention.causal"] == "fails"
    assert found["attention.formula"] == "conforms"
    others = [clause for clause in report.clauses if clause.verdict == "fails" and clause.id != "attention.causal"]
    assert others
    assert all("attention.causal" in clause.only_with for clause in others)


def test_the_foundation_fails_where_everything_does() -> None:
    assert verdicts(check(_raises, profiles=("core",)))["attention.formula"] == "fails"


def test_an_optional_clause_decides_only_where_it_is_asked_for() -> None:
    report = check(leaking)
    assert verdicts(report)["attention.hygiene"] == "fails"
    assert verdicts(report)["attention.mask"] == "conforms"
    assert report.passed, str(report)
    assert not check(leaking, profiles=("hygiene",)).passed
    assert not check(leaking, cases="attention/hygiene/*").passed
    room = Subject("room", "numpy", {"attention": leaking}, is_room=True)
    assert not check_subject(room).passed


def test_nan_is_expected_where_it_is_due() -> None:
    report = check(changed(np.nan_to_num), profiles=("core",), dtypes=("float64",))
    assert verdicts(report)["attention.non-finite"] == "fails"


def test_what_a_subject_prints_stays_out_of_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(changed(lambda output: print("noise") or output), cases=PLAIN).passed
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "noise" in captured.err


def test_warnings_are_kept_and_do_not_decide() -> None:
    def attention(query: Any, key: Any, value: Any) -> Any:
        warnings.warn("steep", RuntimeWarning, stacklevel=1)
        return right(query, key, value)

    report = check(attention, cases=PLAIN)
    assert report.passed
    assert report.results[0].warnings == ("RuntimeWarning: steep",)


def test_every_call_gets_arrays_of_its_own() -> None:
    seen: list[np.ndarray] = []
    check(lambda query, key, value: seen.extend([query, key, value]) or value, cases=PLAIN, dtypes=("float64",) * 2)
    assert len({id(array) for array in seen}) == len(seen) == 6
    assert not any(np.shares_memory(seen[i], seen[i + 3]) for i in range(3))
    assert all(array.flags.writeable for array in seen)


def test_a_report_is_json() -> None:
    data = json.loads(json.dumps(check(leaking, profiles=("core", "hygiene")).to_dict(), allow_nan=False))
    assert data["passed"] is False
    failed = [result for result in data["results"] if result["verdict"] == "failed"]
    assert failed
    assert failed[0]["mismatch"]["got"] == "NaN"
    assert all(result["reproduce"] for result in failed)


def test_progress_is_told() -> None:
    received = []
    check(right, cases=PLAIN, progress=lambda done, total, result: received.append((done, total, result.case.id)))
    assert received == [(1, 2, PLAIN), (2, 2, PLAIN)]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"op": "atention"}, "did you mean attention"),
        ({"profiles": ("cor",)}, "did you mean core"),
        ({"dtypes": ("float23",)}, "choose from: float64, float32, float16, bfloat16"),
        ({"cases": "attention/core/plane"}, "did you mean attention/core/plain"),
        ({"arrays": "cupy"}, f"choose from: {', '.join(KINDS)}"),
    ],
)
def test_a_choice_that_does_not_exist_is_an_error_that_says_what_does(choice: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check(right, **choice)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (lambda query, key, value, mask=None, *, scale=None: (query, key, value, mask, scale), {"mask", "scale"}),
        (lambda query, key, value, **options: (query, key, value, options), None),
        (lambda *arrays, scale=None: (arrays, scale), {"scale"}),
        (functools.partial(lambda q, k, v, *, mask, causal: (q, k, v, mask, causal), causal=1), {"mask", "causal"}),
        (dict.fromkeys, set()),
        (min, None),
    ],
)
def test_the_options_of_a_function_are_read_off_its_signature(function: Any, options: set[str] | None) -> None:
    found = options_of(function)
    assert found == (None if options is None else frozenset(options))
