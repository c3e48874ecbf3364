"""The pytest plugin: one test for each case and dtype, and silence where nobody asks for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import attention_ref.conformance.expected_failures  # noqa: F401 - so that no run inside a test imports it, and the vectors, anew

pytest_plugins = ["pytester"]

MINE = """
import sys, time
import numpy as np
from attention_ref.conformance import Unsupported

def right(query, key, value):
    scores = query @ np.swapaxes(key, -1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value

def wrong(query, key, value):
    return right(query, key, value) + (query.shape[-2] == 1)

def heads_last(query, key, value):
    return np.swapaxes(right(*(np.swapaxes(array, 1, 2) for array in (query, key, value))), 1, 2)

def narrow(query, key, value):
    if query.dtype != np.float64:
        raise Unsupported("only in double precision")
    return right(query, key, value)

def hangs(query, key, value):
    time.sleep(600)

def exits(query, key, value):
    sys.exit(0)
"""
TESTS = """
import pytest
import mine

@pytest.mark.attention_ref(cases="attention/core/single-*", dtypes=["float64"])
def test_conforms(attention_ref_case):
    attention_ref_case.check(mine.FUNCTION)
"""
CASES = "attention/core/single-*"  # of the three, two have a single query


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run pytest on the module `mine` with the plugin, in this process."""
    pytester.makepyfile(mine=MINE)
    monkeypatch.syspath_prepend(pytester.path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # of another test
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # no plugin but this one, installed or not

    def run(*arguments: str) -> pytest.RunResult:
        plugin = ("-p", "attention_ref.pytest_plugin", "-p", "no:cacheprovider")
        return pytester.runpytest_inprocess(*plugin, "-rsxf", *arguments)

    return run


def subject(name: str, *more: str) -> tuple[str, ...]:
    return ("--attention-ref-subject", name, "--attention-ref-case", CASES, *more)


def test_a_subject_speaks_its_dialect_and_keeps_what_it_claims(run: Any, pytester: pytest.Pytester) -> None:
    window = ("--attention-ref-case", "attention/window/itself", "--attention-ref-dtype", "float64")
    run("--attention-ref-subject", "mine:right", *window).assert_outcomes(skipped=1)
    claimed = run("--attention-ref-subject", "mine:right", "--attention-ref-claim", "window", *window)
    claimed.assert_outcomes(failed=1)
    claimed.stdout.fnmatch_lines(["*it claims window, but this is unsupported*"])
    dialect = ("--attention-ref-dialect", str(pytester.makefile(".toml", dialect='layout = "batch length heads size"')))
    run(*subject("mine:heads_last", *dialect)).assert_outcomes(passed=6)
    run(*subject("mine:right", *dialect)).assert_outcomes(failed=4, passed=2)  # one key and one query: no order


def test_there_is_one_test_for_each_case_and_dtype(run: Any) -> None:
    result = run(*subject("mine:right", "-v"))
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        ["attention_ref[[]mine:right[]]::attention/core/single-key[[]float64[]] PASSED*", "*single-query[[]float32[]]*"]
    )


def test_a_failure_is_the_text_of_the_report_and_no_traceback(run: Any) -> None:
    result = run(*subject("mine:wrong", "--attention-ref-dtype", "float64"))
    result.assert_outcomes(passed=1, failed=2)
    text = result.stdout.str()
    for words in ("catches: ", "output[", "]: expected ", " the budget "):
        assert words in text
    assert "reproduce: attention-ref check mine:wrong --case attention/core/single-query --dtype float64" in text
    assert "Traceback" not in text
    assert "pytest_plugin.py" not in text.partition("short test summary")[0]


@pytest.mark.parametrize(
    ("name", "timeout", "words"),
    [("mine:hangs", "0.2", "it does not return within 0.2 s"), ("mine:exits", "600", "it raises SystemExit: 0")],
)
def test_a_bad_subject_fails_its_tests_only(name: str, timeout: str, words: str, run: Any) -> None:
    result = run(*subject(name, "--attention-ref-timeout", timeout))
    skipped = 3 if "hangs" in name else 0
    result.assert_outcomes(failed=6 - skipped, skipped=skipped)
    assert words in result.stdout.str()


def test_what_is_unsupported_is_skipped_with_its_reason(run: Any) -> None:
    result = run(*subject("mine:narrow"))
    result.assert_outcomes(passed=3, skipped=3)
    result.stdout.fnmatch_lines(["SKIPPED*only in double precision"])


def test_a_choice_of_tests_is_pytests(run: Any) -> None:
    run(*subject("mine:right", "-k", "float32 and query")).assert_outcomes(passed=1, deselected=5)
    run(*subject("mine:right", "-m", "not attention_ref")).assert_outcomes(deselected=6)


def test_a_program_and_a_folder_are_subjects_too(run: Any, pytester: pytest.Pytester) -> None:
    program = pytester.makepyfile(
        program="""
        import json, sys
        for line in sys.stdin:
            print(json.dumps({"id": json.loads(line)["id"], "unsupported": "nothing"}), flush=True)
        """
    )
    choice = ("--attention-ref-case", CASES)
    result = run("--attention-ref-exec", f"{sys.executable} {program}", *choice)
    result.assert_outcomes(skipped=6)
    result.stdout.fnmatch_lines(["SKIPPED*: nothing"])
    folder = pytester.mkdir("results")
    (folder / "attention" / "core").mkdir(parents=True)
    (folder / "attention" / "core" / "single-key.float64.json").write_text('{"error": "no luck"}')
    run("--attention-ref-outputs", str(folder), *choice).assert_outcomes(failed=1, skipped=5)


def test_known_failures_are_expected_to_fail(run: Any, pytester: pytest.Pytester) -> None:
    known = ("--attention-ref-known-failures", "known.toml")
    (pytester.path / "known.toml").write_text('"attention/core/single-[qe]*" = "one is added, issue 7"')
    result = run(*subject("mine:wrong", *known))
    result.assert_outcomes(passed=2, xfailed=4)
    result.stdout.fnmatch_lines(["XFAIL*single-query*one is added, issue 7"])
    result = run(*subject("mine:right", *known))
    result.assert_outcomes(passed=2, failed=4)
    assert (
        "attention/core/single-query in float64 passed, but is listed as a known failure: one is added, issue 7"
        in result.stdout.str()
    )


def test_an_optional_clause_is_no_failure(run: Any) -> None:
    result = run("--attention-ref-subject", "mine:right", "-k", "hygiene")
    outcomes = result.parseoutcomes()
    assert "failed" not in outcomes
    assert "xfailed" in outcomes or "skipped" in outcomes


def test_a_test_function_gets_the_cases_that_its_marker_chooses(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_right=TESTS.replace("FUNCTION", "right"), test_wrong=TESTS.replace("FUNCTION", "wrong"))
    result = run("-v")
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["test_right.py::test_conforms[[]attention/core/single-key-float64[]] PASSED*"])
    text = result.stdout.str()
    assert "reproduce: pytest 'test_wrong.py::test_conforms[attention/core/single-query-float64]'" in text
    assert "Traceback" not in text
    assert "attention_ref_case.check" not in text
    run("test_wrong.py::test_conforms[attention/core/single-query-float64]").assert_outcomes(failed=1)


def test_a_test_function_may_be_chosen_for_by_options(run: Any, pytester: pytest.Pytester) -> None:
    (pytester.path / "known.toml").write_text('"attention/core/single-[qe]*" = "one is added"')
    body = "import mine\ndef test_mine(attention_ref_case): attention_ref_case.check(mine.wrong)"
    pytester.makepyfile(test_mine=body)
    options = ("--attention-ref-case", CASES, "--attention-ref-known-failures", "known.toml")
    run(*options).assert_outcomes(passed=2, xfailed=4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (subject("mine:rihgt"), "did you mean right"),
        (subject("mine:right", "--attention-ref-profile", "cor"), "did you mean core"),
        (subject("mine:right", "--attention-ref-exec", "./program"), "give exactly one of SUBJECT"),
        (subject("mine:right", "--attention-ref-known-failures", "none.toml"), "none.toml cannot be read"),
        (("--attention-ref-exec", "./no-such-program", "--attention-ref-case", CASES), "no-such-program cannot be sta"),
    ],
)
def test_a_choice_that_makes_no_sense_is_an_error_of_use(arguments: tuple[str, ...], words: str, run: Any) -> None:
    result = run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stdout.str() + result.stderr.str()


def test_the_plugin_is_strict_about_nothing_of_others(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nstrict = true\nfilterwarnings = error\n")
    pytester.makepyfile(test_other="def test_other(): pass", test_mine=TESTS.replace("FUNCTION", "right"))
    run().assert_outcomes(passed=4)


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys, attention_ref.pytest_plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "attention_ref.pytest_plugin" in done.stdout
    modules = done.stdout.split()
    assert not {"numpy", "attention_ref.conformance"} & set(modules)
    assert [name for name in modules if name.startswith("attention_ref.spec.")] == ["attention_ref.spec.lazy_names"]
