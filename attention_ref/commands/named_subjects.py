"""Make the subject that a command line names: a backend, one path of it, a peer, or `module:callable`."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from attention_ref import backends

if TYPE_CHECKING:
    from attention_ref.conformance import Dialect, Subject
    from attention_ref.conformance.peers.peer import Peer
    from attention_ref.conformance.subjects.base_subject import BaseSubject

SUBJECT = (
    "numpy, torch or keras (torch:fused or torch:reference: one path of it alone), a peer such as torch.sdpa, "
    "module:callable, or path/to/file.py:callable"
)
"""The help of an argument that names a subject."""

_LONGEST = 1e9
"""The largest timeout in seconds; `threading` accepts at most about 9e9."""


def names() -> Mapping[str, str]:
    """Return every named subject with a description."""
    rooms = {name: f"this library's implementation on {name}" for name in backends.ROOMS}
    return {**rooms, **{name: peer.description for name, peer in _peers().items()}}


def is_function(name: str) -> bool:
    """Return whether a name is `module:callable`; `torch:fused` is a path of a backend."""
    return ":" in name and backends.room_and_path(name) is None


def missing(name: str) -> tuple[str, ...]:
    """Return the packages that a named subject needs but that are not installed."""
    if chosen := backends.room_and_path(name):
        return backends.missing(chosen[0])
    return tuple(package for package in _peers()[name].modules if find_spec(package) is None)


def is_slow(name: str) -> bool:
    """Return whether a peer compiles for every shape."""
    return name in _peers() and _peers()[name].is_slow


def operations(name: str) -> tuple[str, ...] | None:
    """Return the operations of a named peer; None for anything else, which must be imported to find out."""
    if name not in _peers():
        return None
    peer = _peers()[name]
    return (*(["attention"] if peer.attention else []), *peer.layers)


def choose_engine(name: str, arrays: str, engine: str | None) -> None:
    """Set the backend of Keras, and JAX's 64-bit mode where JAX is checked, for this process.

    Both are read when Keras and JAX are first imported, so call this before making the subject.
    """
    from attention_ref.conformance import UsageError

    runs_on = arrays if is_function(name) else kind(name)
    if engine is not None:
        if runs_on != "keras":
            based = ["keras", *(peer for peer in _peers() if kind(peer) == "keras")]
            kinds = f"{', '.join(based)}, and module:callable with --arrays keras"
            raise UsageError(
                f"--engine chooses the backend of Keras, and {name} does not use Keras; it applies to {kinds}"
            )
        if find_spec(engine) is None:
            raise UsageError(f"--engine {engine}: {engine} is not installed")
        os.environ["KERAS_BACKEND"] = engine
    if runs_on in ("keras", "jax"):
        os.environ.setdefault("JAX_ENABLE_X64", "1")


def kind(name: str) -> str:
    """Return the array type of a named subject, which tells whether it runs on Keras or JAX."""
    if chosen := backends.room_and_path(name):
        return chosen[0]
    peers = _peers()
    return peers[name].runs_on if name in peers else name


def subject(
    name: str, arrays: str | None = None, operation: str = "attention", dialect: Dialect | str | None = None
) -> Subject:
    """Make a subject.

    Arguments:
        name: a key of `names()`, a path of a backend such as `torch:fused`, or `module:callable`; modules in the
            working directory are found too.
        arrays: the array type of `module:callable`.
        operation: the operation that `module:callable` implements.
        dialect: the calling convention of `module:callable`.

    Raises:
        UsageError: if the subject does not exist or cannot be imported.
    """
    from attention_ref.conformance import UsageError, room
    from attention_ref.conformance.errors import reject
    from attention_ref.conformance.import_callable import import_callable, is_file_of_python
    from attention_ref.conformance.preflight import require_callable
    from attention_ref.conformance.subjects.subject import subject_of
    from attention_ref.spec.packages import absence

    if is_function(name) or is_file_of_python(name):
        return subject_of(import_callable(name), name, operation, arrays, dialect)
    chosen = backends.room_and_path(name)
    if chosen is None and name not in names():
        if _is_module(name):
            require_callable(import_module(name), name)
        reject("subject", name, [*names(), "module:callable", "path/to/file.py:callable"])
    if packages := missing(name):
        plain = f"{' and '.join(packages)}, which is not installed"
        how = absence(packages, backends.extra_of(chosen[0])) if chosen else plain
        raise UsageError(f"{name} needs {how}")
    try:
        if chosen:
            return room(backends.backend(chosen[0]), chosen[0], _version(chosen[0]), chosen[1])
        return import_module("attention_ref.conformance.peers").peer(name)
    except ImportError as error:
        raise UsageError(f"{name} cannot be imported: {error}") from error


class Choice(NamedTuple):
    """The subject that a command line chooses, with exactly one of `subject`, `exec` and `outputs`.

    Arguments:
        subject: the name of one in this process, see `subject`.
        exec: a command that answers requests.
        outputs: a folder of results.
        operation: the operation to check; if None, every operation of the subject, and attention for a function.
        arrays, dialect: of `module:callable`.
        engine: the backend of Keras.
        claims: profiles in which an unsupported case is a failure.
        timeout: seconds per call; 0: no limit.
    """

    subject: str | None = None
    exec: str | None = None
    outputs: str | None = None
    operation: str | None = None
    arrays: str | None = None
    dialect: str | None = None
    engine: str | None = None
    claims: tuple[str, ...] = ()
    timeout: float = 0.0

    @property
    def options(self) -> list[str]:
        """The command-line options that give the array type and the calling convention."""
        words = [f"--arrays {self.arrays}"] if self.arrays else []
        return words + ([f"--dialect {shlex.quote(self.dialect)}"] if self.dialect else [])


def takes_subject(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that calls a subject in this process."""
    option = parser.add_argument
    option("subject", metavar="SUBJECT", help=SUBJECT)
    option(
        "--engine",
        choices=backends.ENGINES,
        help="backend of Keras; default: KERAS_BACKEND or the configuration of Keras",
    )
    option("--arrays", metavar="KIND", help="array type of module:callable; default: numpy")
    option("--dialect", metavar="D", help="calling convention of module:callable, such as torch.sdpa, or a TOML file")


def in_process_choice(options: argparse.Namespace) -> Choice:
    """Return the subject that the options of `takes_subject` name."""
    return Choice(options.subject, arrays=options.arrays, dialect=options.dialect, engine=options.engine)


def chosen(choice: Choice) -> BaseSubject:
    """Make the chosen subject: by name, a program, or a folder of results.

    Raises:
        UsageError: if not exactly one is chosen, or an option does not apply to it.
    """
    from dataclasses import replace

    from attention_ref.conformance import UsageError

    given = {"--exec": choice.exec, "--outputs": choice.outputs, "SUBJECT": choice.subject}
    ways = [name for name, value in given.items() if value]
    if len(ways) != 1:
        raise UsageError(
            f"give exactly one of SUBJECT, --exec and --outputs{', not ' if ways else ''}{' and '.join(ways)}"
        )
    if not 0 <= choice.timeout <= _LONGEST:
        raise UsageError(f"--timeout must be a number of seconds, or 0, not {choice.timeout:g}")
    if not choice.subject:
        return replace(_elsewhere(choice), claims=choice.claims)
    return replace(in_process(choice), timeout=choice.timeout or None, claims=choice.claims)


def in_process(choice: Choice) -> Subject:
    """Make a subject that is called in this process.

    Raises:
        UsageError: if it does not exist, or an option does not apply to it.
    """
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.dialects import resolve

    name = choice.subject or ""
    for option in ("arrays", "dialect"):
        if getattr(choice, option) and not is_function(name):
            raise UsageError(f"--{option} applies to module:callable only; {name} defines its own")
    dialect = resolve(choice.dialect) if choice.dialect else None
    choose_engine(name, choice.arrays or (dialect.arrays if dialect else "numpy"), choice.engine)
    return subject(name, choice.arrays, choice.operation or "attention", dialect)


def reproduce(subject: BaseSubject, choice: Choice, seed: int = 0) -> Callable[[str, str], str]:
    """Return the command that checks a subject in one case and dtype, as a function of both."""
    words = ["attention-ref check", *filter(None, [subject.option]), shlex.quote(subject.name)]
    is_own = bool(subject.option) or is_function(subject.name)
    chooses_engine = subject.arrays == "keras" and backends.engine() in backends.ENGINES
    words += [f"--operation {choice.operation}"] if choice.operation and is_own else []
    words += choice.options
    words += [f"--engine {backends.engine()}"] if chooses_engine else []
    words += [f"--claim {claim}" for claim in choice.claims]
    seeded = [f"--seed {seed}"] if seed else []
    return lambda case, dtype: " ".join([*words, f"--case {case}", f"--dtype {dtype}", *seeded])


def _elsewhere(choice: Choice) -> BaseSubject:
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.errors import reject
    from attention_ref.conformance.subjects.program import program
    from attention_ref.conformance.subjects.result_folder import folder
    from attention_ref.spec.operations import OPERATIONS

    for name in ("arrays", "dialect", "engine"):
        if getattr(choice, name):
            raise UsageError(f"--{name} applies to a SUBJECT only, not to --exec and --outputs")
    if choice.operation and choice.operation not in OPERATIONS:
        reject("operation", choice.operation, OPERATIONS)
    operations = [choice.operation] if choice.operation else None
    if choice.exec:
        return program(choice.exec, operations or ["attention"], choice.timeout or None)
    return folder(choice.outputs or "", operations)


def _peers() -> Mapping[str, Peer]:
    from attention_ref.conformance.peers import PEERS

    return PEERS


def _version(room: str) -> str:
    from importlib import metadata

    version = metadata.version(room)
    return f"{version} on {backends.engine()}" if room == "keras" else version


def _is_module(name: str) -> bool:
    """Return whether a name is that of a module, in the working directory too."""
    from attention_ref.conformance.import_callable import search_working_directory

    search_working_directory()
    try:
        return all(map(str.isidentifier, name.split("."))) and find_spec(name) is not None
    except (ImportError, ValueError):
        return False
