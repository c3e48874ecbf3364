"""The pytest plugin: one test for each case, of a subject that an option names or of what a test function checks.

    pytest --attention-ref-subject my_module:attention --attention-ref-profile core

    def test_conforms(attention_ref_case):
        attention_ref_case.check(my_attention)

Nothing but pytest is imported until one of the two is used.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from attention_ref.commands import named_subjects

if TYPE_CHECKING:
    from attention_ref.conformance import Case, Report, Result
    from attention_ref.conformance.expected_failures import KnownFailures
    from attention_ref.conformance.subjects.base_subject import BaseSubject

PREFIX = "attention_ref_"
SUBJECT = ("subject", "exec", "outputs", "arrays", "dialect", "claim", "timeout")
CHOICE = ("operation", "profile", "dtype", "case", "known_failures")
MARKER = (
    "attention_ref(operation, profiles, dtypes, cases, arrays): a case of attention_ref; given to a test function, the "
    "cases of its attention_ref_case"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `attention-ref check`, with a prefix."""
    group = parser.getgroup("attention-ref", "conformance of an attention to its specification")

    def add(name: str, text: str, **options: Any) -> None:
        group.addoption(f"--attention-ref-{name}", dest=PREFIX + name.replace("-", "_"), help=text, **options)

    add("subject", "test numpy, torch, keras, a peer, or module:callable", metavar="SUBJECT")
    add("exec", "test a program that answers requests in JSON line by line", metavar="COMMAND")
    add("outputs", "test a folder of results, DIR/<case id>.<dtype>.npz", metavar="DIR")
    add("operation", "such as attention, layer_norm or Block", metavar="OP")
    add("profile", "a group of cases; may be given again", metavar="P", action="append")
    add("claim", "a profile that it supports; may be given again", metavar="P", action="append")
    add("dtype", "default: float64 and float32; may be given again", metavar="D", action="append")
    add("case", "only cases whose id matches; default: all", metavar="GLOB", default="*")
    add("arrays", "what module:callable takes and returns; default: numpy", metavar="KIND")
    add("dialect", "that module:callable speaks: its name, or a TOML file", metavar="D")
    add("timeout", "seconds that a call may take; 0: any; default: 60", metavar="S", type=float, default=60.0)
    add("known-failures", "TOML: which cases fail, and why", metavar="FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", MARKER)


@pytest.hookimpl(tryfirst=True)  # before anything is deselected
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each case of the subject that an option names."""
    options = _options(config)
    if not any((options.subject, options.exec, options.outputs)):
        return
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.api import require_claims
    from attention_ref.conformance.run import select
    from attention_ref.spec.dtypes import COMPUTED

    try:
        choice = named_subjects.Choice(
            subject=options.subject,
            exec=options.exec,
            outputs=options.outputs,
            operation=options.operation,
            arrays=options.arrays,
            dialect=options.dialect,
            claims=tuple(options.claim or ()),
            timeout=options.timeout,
        )
        subject = named_subjects.chosen(choice)
        require_claims(subject)
        operations = [options.operation] if options.operation else list(subject.operations)
        checks = select(operations, options.profile, options.dtype or COMPUTED, options.case)
        known = _known(options.known_failures, checks)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    binds = subject.is_room or options.profile is not None or all(case.is_optional for case, _ in checks)
    verifier = Verifier(subject, known, binds, named_subjects.reproduce(subject, choice))
    parent = SubjectNode.from_parent(session, name=subject.name, nodeid=f"attention_ref[{subject.name}]")
    items += [CaseItem.from_parent(parent, case=case, dtype=dtype, verifier=verifier) for case, dtype in checks]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test function that asks for `attention_ref_case` the cases that its marker or the options choose."""
    if "attention_ref_case" not in metafunc.fixturenames:
        return
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.run import select
    from attention_ref.spec.dtypes import COMPUTED

    options, marked = _options(metafunc.config), _marked(metafunc.definition)
    profiles = marked.get("profiles", options.profile)
    try:
        operation = marked.get("operation", options.operation or "attention")
        dtypes = marked.get("dtypes", options.dtype or COMPUTED)
        checks = select([operation], profiles, dtypes, marked.get("cases", options.case))
        known = _known(options.known_failures, checks)
    except UsageError as error:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: {error}") from error
    binds = profiles is not None or all(case.is_optional for case, _ in checks)
    ids = [f"{case.id}-{dtype}" for case, dtype in checks]
    metafunc.parametrize("attention_ref_case", [(*check, binds, known) for check in checks], ids=ids, indirect=True)


@pytest.fixture
def attention_ref_case(request: pytest.FixtureRequest) -> CaseCheck:
    """One case of the specification in one dtype: `attention_ref_case.check(my_attention)`."""
    case, dtype, binds, known = request.param
    return CaseCheck(case, dtype, binds, known, request.node)


class SubjectNode(pytest.Collector):
    """The parent of a subject's cases. They are chosen by the options."""

    def collect(self) -> list[pytest.Item]:
        """Collect nothing: the items are added when every other test is known."""
        return []


class CaseItem(pytest.Item):
    """The test of a subject in one case and dtype."""

    def __init__(self, *, case: Case, dtype: str, verifier: Verifier, **options: Any) -> None:
        super().__init__(f"{case.id}[{dtype}]", **options)
        self.case, self.dtype, self.verifier = case, dtype, verifier
        self.add_marker("attention_ref")

    def runtest(self) -> None:
        """Ask the subject and compare."""
        self.verifier.verify(self.case, self.dtype)

    def reportinfo(self) -> tuple[Any, None, str]:
        """Say where the test is: nowhere but in its name."""
        return self.path, None, self.name


class CaseCheck:
    """What a test function gets: a case in a dtype, to check its own function with."""

    def __init__(self, case: Case, dtype: str, binds: bool, known: KnownFailures | None, node: pytest.Item) -> None:
        self.case, self.dtype = case, dtype
        self._binds, self._known, self._node = binds, known, node

    def __repr__(self) -> str:
        return f"<{self.case.id} in {self.dtype}>"

    def check(self, function: Callable[..., Any] | BaseSubject, *, arrays: str | None = None) -> None:
        """Pass, fail, or skip the test: check a function as `conformance.check` does, or a `Subject`.

        Arguments:
            function: what is checked.
            arrays: what it takes and returns; by default what the marker or the option says, or `"numpy"`.
        """
        __tracebackhide__ = True
        from attention_ref.conformance.signatures import name_of
        from attention_ref.conformance.subjects.base_subject import BaseSubject
        from attention_ref.conformance.subjects.subject import subject_of

        options = _options(self._node.config)
        arrays = arrays or _marked(self._node).get("arrays") or options.arrays or "numpy"
        if isinstance(function, BaseSubject):
            subject = function
        else:
            limit = options.timeout or None
            subject = subject_of(function, name_of(function), self.case.operation, arrays, timeout=limit)
        line = f"pytest {shlex.quote(self._node.nodeid)}"
        Verifier(subject, self._known, self._binds, lambda *_: line).verify(self.case, self.dtype)


class Verifier:
    """Turns what comes of a case into what pytest knows: passed, failed, skipped, expected to fail."""

    def __init__(
        self, subject: BaseSubject, known: KnownFailures | None, binds: bool, reproduce: Callable[[str, str], str]
    ) -> None:
        self._subject, self._known, self._binds, self._reproduce = subject, known, binds, reproduce
        self._hangs = 0

    def verify(self, case: Case, dtype: str) -> None:
        """Ask the subject and raise the outcome, unless it has passed."""
        __tracebackhide__ = True
        from attention_ref.conformance import Report, UsageError
        from attention_ref.conformance.run import MOST_HANGS, run

        if self._hangs == MOST_HANGS:
            pytest.skip("not asked, because it hung before")
        try:
            results = run(self._subject, [(case, dtype)])
        except UsageError as error:
            pytest.exit(str(error), pytest.ExitCode.USAGE_ERROR)
        (result,) = self._known.marked(results) if self._known else results
        self._hangs += result.hangs
        _settle(result, Report(self._subject, (dtype,), [result], self._reproduce, self._binds))


def _settle(result: Result, report: Report) -> None:
    __tracebackhide__ = True
    if result.verdict == "unsupported":
        pytest.skip(result.reason)
    if result.verdict == "passed" and result.known:
        pytest.fail(f"{result.case.id} in {result.dtype} passes, but is known to fail: {result.known}", pytrace=False)
    if result.verdict == "failed":
        if result.known:
            pytest.xfail(result.known)
        if not report.decides(result):
            pytest.xfail(f"optional: {', '.join(result.case.clauses)}")
        pytest.fail(report.failure(result), pytrace=False)


def _options(config: pytest.Config) -> SimpleNamespace:
    given = {name: config.getoption(PREFIX + name) for name in (*SUBJECT, *CHOICE)}
    return SimpleNamespace(**given)


def _marked(node: pytest.Item) -> dict[str, Any]:
    marker = node.get_closest_marker("attention_ref")
    return dict(marker.kwargs) if marker else {}


def _known(path: str | None, checks: Sequence[tuple[Case, str]]) -> KnownFailures | None:
    if path is None:
        return None
    from attention_ref.conformance import expected_failures

    found = expected_failures.read(path)
    found.require_matches(checks)
    return found
