"""What hypothesis does for the laws: it chooses, and it makes what breaks a law as small as it can."""

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


class Broken(Exception):  # noqa: N818 - it is what is looked for
    """Raised by an attempt that breaks a law."""


def search(attempt: Callable[[Pick], None], refuse: Callable[[str], None], examples: int, seed: int) -> str:
    """Make attempts with choices at random, and with simpler and simpler ones once one has raised `Broken`.

    Arguments:
        attempt: is given what chooses.
        refuse: is told why the subject does not offer what an attempt asked for; raises `SkipTest` to give up.
        examples: how many attempts to make.
        seed: of the choices.

    Returns:
        What hypothesis found strange: a subject that does not repeat itself.

    Raises:
        UsageError: without hypothesis.
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
            return "the same call did not give the same result twice"
    return ""


def _settings(hypothesis: Any, examples: int) -> Any:
    """Nothing of the user's own profile, no database, no complaints about speed."""
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
    """Let hypothesis keep its files in a folder that is deleted, not in the working directory."""
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
    """Keep hypothesis from choosing numbers that it has read in the source files of whatever is imported.

    They would make the calls depend on more than the seed. Versions before 6.131 know nothing of the kind.
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
