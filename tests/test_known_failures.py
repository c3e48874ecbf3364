"""Known failures: exactly what is known to fail may fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import cli
from attention_ref.commands import command
from attention_ref.conformance import Subject, UsageError, check_subject, expected_failures

CASES, RIGHT, WRONG = (f"attention/core/single-{end}" for end in ("*", "key", "[qe]*"))
MINE = """
import numpy as np

def attention(query, key, value):
    scores = query @ np.swapaxes(key, -1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    output = weights / weights.sum(-1, keepdims=True) @ value
    return output + 1 if query.shape[-2] == 1 else output
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Check three cases, of which two fail, with a file of known failures: the exit code, stdout and stderr."""
    (tmp_path / "mine_known.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)

    def check(text: str, pattern: str = CASES) -> tuple[int, str, str]:
        (tmp_path / "known.toml").write_text(text)
        words = ["check", "mine_known:attention", "--known-failures", str(tmp_path / "known.toml")]
        code = cli.main([*words, "--case", pattern, "--dtype", "float64", "--dtype", "float32"])
        return code, *capsys.readouterr()

    return check


def test_known_failures_exit_with_0(run: Any) -> None:
    assert run("")[0] == command.DIFFERS
    assert run(f'"{WRONG[:-5]}query" = "only one of the two"')[0] == command.DIFFERS
    code, out, _ = run(f'"{WRONG}" = "one is added to\\n a single query, issue 7"')
    assert code == command.CONFORMS
    assert out.startswith("mine_known:attention does not conform")
    assert "Known failures\n     2 cases: one is added to a single query, issue 7" in out
    assert "reproduce" not in out


def test_a_file_states_the_version_of_its_format(run: Any) -> None:
    entry = f'"{WRONG}" = "one is added"'
    assert run(f"format_version = 2\n{entry}")[0] == command.CONFORMS
    assert run(entry)[0] == command.CONFORMS
    code, _, error = run(f"format_version = 3\n{entry}")
    assert code == command.USAGE
    assert "known.toml: format version 3 is not supported; expected 2 or 1" in error


def test_a_known_failure_that_passes_is_a_failure(run: Any) -> None:
    code, out, _ = run(f'"{WRONG}" = "a reason"\n"{RIGHT}" = "long repaired"')
    assert code == command.DIFFERS
    assert f"Known to fail, but passing\n  {RIGHT} in float64: long repaired" in out


def test_a_failure_may_be_known_in_one_dtype(run: Any) -> None:
    entry = f'"{WRONG}" = {{ reason = "r", dtypes = ["float32"%s] }}'
    assert run(entry % "")[0] == command.DIFFERS
    assert run(entry % ', "float64"')[0] == command.CONFORMS


def test_an_entry_may_speak_of_cases_that_are_not_chosen(run: Any) -> None:
    assert run(f'"{WRONG}" = "a reason"\n"attention/window/*" = "another"', RIGHT)[0] == command.CONFORMS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"attention/core/plane" = "r"', "did you mean attention/core/plain"),
        ('"attention/core/*" = ""', '"attention/core/*" has no reason'),
        ('"attention/core/*" = {dtypes = ["float32"]}', '"attention/core/*" has no reason'),
        ('"attention/core/*" = 3', '"attention/core/*" must be a reason, or a table with reason and dtypes'),
        ('"attention/core/*" = {reason = "r", dtype = "float32"}', "must be a reason, or a table with reason and"),
        ('"attention/core/*" = {reason = "r", dtypes = ["float31"]}', "there is no dtype 'float31'; did you mean"),
        ('"attention/core/*" = {reason = "r", dtypes = []}', "must be a list of names"),
        ('"a" = "r"\n"a" = "r"', "known.toml cannot be read: Cannot overwrite a value"),
        ("attention = ", "known.toml cannot be read"),
    ],
)
def test_a_file_that_makes_no_sense_is_an_error_of_use(text: str, words: str, run: Any) -> None:
    code, _, err = run(text)
    assert code == command.USAGE
    assert words in err


def test_what_is_unsupported_is_not_known_to_fail(tmp_path: Path) -> None:
    (tmp_path / "known.toml").write_text('"attention/causal/*" = "no causal"')
    subject = Subject("mine", "numpy", {"attention": lambda query, key, value: np.copy(value)})
    report = check_subject(subject, profiles=("causal",), known=expected_failures.read(tmp_path / "known.toml"))
    assert {result.verdict for result in report.results if not result.known} == {"unsupported"}


def test_an_unknown_dtype_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="there is no case"):
        expected_failures.KnownFailures(
            "file", (expected_failures.Entry("no/such/case", ("float64",), "r"),)
        ).require_matches([])
