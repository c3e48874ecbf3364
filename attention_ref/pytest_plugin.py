"""The pytest plugin: one test per case, for a subject named by an option or inside a test function.

    pytest --attention-ref-subject my_module:attention --attention-ref-profile core

    def test_conforms(attention_ref_case):
        attention_ref_case.check(my_attention)

The plugin imports only pytest until one of the two is used.
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
    "attention_ref(operation, profiles, dtypes, cases, arrays): a case of attention_ref; on a test function, it "
    "selects the cases of the fixture attention_ref_case"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `attention-ref check`, with a prefix."""
    group = parser.getgroup("attention-ref", "conformance of an attention to its specification")

    def add(name: str, text: str, **options: Any) -> None:
        group.addoption(f"--attention-ref-{name}", dest=PREFIX + name.replace("-", "_"), help=text, **options)

    add("subject", "test numpy, torch, keras, a peer, or module:callable", metavar="SUBJECT")
    add("exec", "test a program that answers requests in JSON line by line", metavar="COMMAND")
    add("outputs", "test a folder of results, DIR/<case id>.<dtype>.npz", metavar="DIR")
    add("operation", "the operation to check, such as attention, layer_norm or Block", metavar="OP")
    add("profile", "a group of cases; repeatable", metavar="P", action="append")
    add("claim", "a profile in which unsupported is a failure; repeatable", metavar="P", action="append")
    add("dtype", "dtype to check; repeatable; default: float64 and float32", metavar="D", action="append")
    add("case", "only cases whose id matches the pattern; default: all", metavar="GLOB", default="*")
    add("arrays", "array type of module:callable; default: numpy", metavar="KIND")
    add("dialect", "calling convention of module:callable: a name or a TOML file", metavar="D")
    add("timeout", "time limit of a call in seconds; 0: none; default: 60", metavar="S", type=float, default=60.0)
    add("known-failures", "TOML file of expected failures with reasons", metavar="FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", MARKER)


@pytest.hookimpl(tryfirst=True)  # before -k and -m deselect items
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add one test per case for the subject that an option names."""
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
    """Parametrise `attention_ref_case` with the cases that the marker or the options select."""
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
    """The parent node of a subject's cases."""

    def collect(self) -> list[pytest.Item]:
        """Return nothing: the items are added after collection."""
        return []


class CaseItem(pytest.Item):
    """The test of a subject in one case and dtype."""

    def __init__(self, *, case: Case, dtype: str, verifier: Verifier, **options: Any) -> None:
        super().__init__(f"{case.id}[{dtype}]", **options)
        self.case, self.dtype, self.verifier = case, dtype, verifier
        self.add_marker("attention_ref")

    def runtest(self) -> None:
        """Call the subject and compare."""
        self.verifier.verify(self.case, self.dtype)

    def reportinfo(self) -> tuple[Any, None, str]:
        """Return the name of the test as its location."""
        return self.path, None, self.name


class CaseCheck:
    """The fixture value: one case in one dtype."""

    def __init__(self, case: Case, dtype: str, binds: bool, known: KnownFailures | None, node: pytest.Item) -> None:
        self.case, self.dtype = case, dtype
        self._binds, self._known, self._node = binds, known, node

    def __repr__(self) -> str:
        return f"<{self.case.id} in {self.dtype}>"

    def check(self, function: Callable[..., Any] | BaseSubject, *, arrays: str | None = None) -> None:
        """Check a function as `conformance.check` does, or a `Subject`, and pass, fail or skip the test.

        Arguments:
            function: the function, layer builder or subject to check.
            arrays: its array type; by default that of the marker, else of the option, else `"numpy"`.
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
    """Maps the verdict on a case to an outcome of pytest: passed, failed, skipped or xfailed."""

    def __init__(
        self, subject: BaseSubject, known: KnownFailures | None, binds: bool, reproduce: Callable[[str, str], str]
    ) -> None:
        self._subject, self._known, self._binds, self._reproduce = subject, known, binds, reproduce
        self._hangs = 0

    def verify(self, case: Case, dtype: str) -> None:
        """Run the case and raise the outcome of pytest, unless it has passed."""
        __tracebackhide__ = True
        from attention_ref.conformance import Report, UsageError
        from attention_ref.conformance.run import MOST_HANGS, run

        if self._hangs == MOST_HANGS:
            pytest.skip("not run: earlier calls timed out")
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
        pytest.fail(
            f"{result.case.id} in {result.dtype} passed, but is listed as a known failure: {result.known}",
            pytrace=False,
        )
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
