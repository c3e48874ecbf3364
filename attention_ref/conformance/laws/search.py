"""The use of hypothesis: random choices, and shrinking of counterexamples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any
from unittest import SkipTest

from attention_ref.conformance.errors import Unsupported, UsageError
from attention_ref.conformance.laws.strategies import Pick, Rejected


class Broken(Exception):  # noqa: N818 - the goal of the search
    """Raised by an attempt that breaks a law."""


def search(attempt: Callable[[Pick], None], refuse: Callable[[str], None], examples: int, seed: int) -> str:
    """Run attempts with random choices, and with shrinking choices once one has raised `Broken`.

    Arguments:
        attempt: called with the function that chooses.
        refuse: called with the reason when a subject does not support a call; raises `SkipTest` to give up.
        examples: the number of attempts.
        seed: the seed of the choices.

    Returns:
        A note if the subject is not deterministic, else an empty string.

    Raises:
        UsageError: if hypothesis is not installed.
    """
    if find_spec("hypothesis") is None:
        raise UsageError("laws need hypothesis, which is not installed: pip install 'attention-ref[laws]'")
    hypothesis = import_module("hypothesis")

    def test(source: Any) -> None:
        try:
            attempt(source.choice)
        except Rejected:
            hypothesis.reject()
        except Unsupported as reason:
            refuse(str(reason) or "without a reason")
            hypothesis.reject()

    tests = hypothesis.given(hypothesis.strategies.randoms(use_true_random=False))(test)
    with _without_traces(), _without_constants():
        try:
            hypothesis.seed(seed)(_settings(hypothesis, examples)(tests))()
        except (Broken, SkipTest, hypothesis.errors.Unsatisfiable):
            return ""
        except hypothesis.errors.Flaky:
            return "the same call returned different results"
    return ""


def _settings(hypothesis: Any, examples: int) -> Any:
    """Return settings independent of the user's profile: no database, no deadline, no health checks."""
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )


@contextmanager
def _without_traces() -> Iterator[None]:
    """Redirect the storage of hypothesis from the working directory to a temporary folder."""
    configuration = import_module("hypothesis.configuration")
    before = vars(configuration).get("__hypothesis_home_directory")
    with TemporaryDirectory() as folder:
        configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(before)


@contextmanager
def _without_constants() -> Iterator[None]:
    """Prevent hypothesis from choosing constants found in the source files of imported modules.

    They would make the calls depend on more than the seed. Versions before 6.131 do not collect constants.
    """
    provider = import_module("hypothesis.internal.conjecture.providers").HypothesisProvider
    name = "_maybe_draw_constant"
    before = vars(provider).get(name)
    if before is not None:
        setattr(provider, name, lambda *_, **__: None)
    try:
        yield
    finally:
        if before is not None:
            setattr(provider, name, before)
