"""Subjects by name, as the command takes them: a backend, a named peer, or `module:callable`."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from attention_ref import backends

if TYPE_CHECKING:
    from attention_ref.conformance import Dialect, Subject
    from attention_ref.conformance.peers.peer import Peer

WAYS = ("exec", "outputs")
"""The options that name a subject which does not run in this process."""


def names() -> Mapping[str, str]:
    """Give every named subject and what it is."""
    rooms = {name: f"this library's implementation on {name}" for name in backends.ROOMS}
    return {**rooms, **{name: peer.description for name, peer in _peers().items()}}


def missing(name: str) -> tuple[str, ...]:
    """Give the packages that a named subject needs and that are not installed."""
    if name in backends.ROOMS:
        return backends.missing(name)
    return tuple(package for package in _peers()[name].modules if find_spec(package) is None)


def operations(name: str) -> tuple[str, ...] | None:
    """Give the operations that a named peer has; None for what has to be looked at."""
    if name not in _peers():
        return None
    peer = _peers()[name]
    return (*(["attention"] if peer.attention else []), *peer.layers)


def choose_engine(name: str, arrays: str, engine: str | None) -> None:
    """Prepare this process for a subject: the engine that Keras runs on, and JAX's 64-bit mode where JAX is checked.

    Both are read when Keras and JAX are first imported, so this comes before the subject is made.
    """
    from attention_ref.conformance.errors import UsageError

    runs_on = arrays if ":" in name else kind(name)
    if engine is not None:
        if runs_on != "keras":
            based = ["keras", *(peer for peer in _peers() if kind(peer) == "keras")]
            kinds = f"{', '.join(based)}, and module:callable with --arrays keras"
            raise UsageError(f"--engine says what Keras runs on, and {name} does not run on Keras; it is for {kinds}")
        if find_spec(engine) is None:
            raise UsageError(f"--engine {engine}: {engine} is not installed")
        os.environ["KERAS_BACKEND"] = engine
    if runs_on in ("keras", "jax"):
        os.environ.setdefault("JAX_ENABLE_X64", "1")


def kind(name: str) -> str:
    """Give the kind of arrays of a named subject: what matters is whether it runs on Keras or JAX."""
    peers = _peers()
    return peers[name].runs_on if name in peers else name


def subject(
    name: str, arrays: str | None = None, operation: str = "attention", dialect: Dialect | str | None = None
) -> Subject:
    """Make a subject.

    Arguments:
        name: a key of `names()`, or `module:callable`, the module importable from the working directory too.
        arrays: what a callable of the user's takes and returns.
        operation: what it is to be.
        dialect: that the callable speaks.

    Raises:
        UsageError: when there is no such subject, or it cannot be imported.
    """
    from attention_ref.conformance import UsageError, room
    from attention_ref.conformance.api import subject_of
    from attention_ref.conformance.errors import reject

    if ":" in name:
        return subject_of(_callable(name), name, operation, arrays, dialect)
    if name not in names():
        reject("subject", name, [*names(), "module:callable"])
    if packages := missing(name):
        raise UsageError(f"{name} needs {' and '.join(packages)}, which is not installed")
    try:
        if name in backends.ROOMS:
            return room(backends.backend(name), name, _version(name))
        return import_module("attention_ref.conformance.peers").peer(name)
    except ImportError as error:
        raise UsageError(f"{name} cannot be imported: {error}") from error


def chosen(options: Any) -> Subject:
    """Make the subject that a command names: by name, as a program, or as a folder of results.

    Raises:
        UsageError: when it names none, or more than one, or an option that is for others.
    """
    from attention_ref.conformance import UsageError

    ways = [f"--{way}" for way in WAYS if getattr(options, way)] + ["SUBJECT"] * bool(options.subject)
    if len(ways) != 1:
        raise UsageError(f"give one of SUBJECT, --exec and --outputs{', not ' if ways else ''}{' and '.join(ways)}")
    if options.timeout < 0:
        raise UsageError(f"--timeout must be a number of seconds, or 0, not {options.timeout:g}")
    claims = tuple(options.claim or ())
    if not options.subject:
        return replace(_elsewhere(options), claims=claims)
    return replace(in_process(options, options.operation), timeout=options.timeout or None, claims=claims)


def in_process(options: Any, operation: str | None) -> Subject:
    """Make the subject that a command names by SUBJECT, `--arrays`, `--dialect` and `--engine`.

    Raises:
        UsageError: when there is no such subject, or for an option that is for others.
    """
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.dialects import resolve

    for name in ("arrays", "dialect"):
        if getattr(options, name) and ":" not in options.subject:
            raise UsageError(f"--{name} is for module:callable; {options.subject} has its own")
    dialect = resolve(options.dialect) if options.dialect else None
    choose_engine(options.subject, options.arrays or (dialect.arrays if dialect else "numpy"), options.engine)
    return subject(options.subject, options.arrays, operation or "attention", dialect)


def reproduce(subject: Subject, options: Any) -> Callable[[str, str], str]:
    """Give the command that checks a subject in one case and dtype, as a function of both."""
    named = [f"--{way} {shlex.quote(value)}" for way in WAYS if (value := getattr(options, way))]
    words = ["attention-ref check", *(named or [shlex.quote(options.subject)])]
    is_own = bool(named) or ":" in options.subject
    chooses_engine = subject.arrays == "keras" and backends.engine() in backends.ENGINES
    words += [f"--operation {options.operation}"] if options.operation and is_own else []
    words += [f"--arrays {options.arrays}"] if options.arrays else []
    words += [f"--dialect {shlex.quote(options.dialect)}"] if options.dialect else []
    words += [f"--engine {backends.engine()}"] if chooses_engine else []
    words += [f"--claim {claim}" for claim in options.claim or ()]
    seeded = [f"--seed {options.seed}"] if options.seed else []
    return lambda case, dtype: " ".join([*words, f"--case {case}", f"--dtype {dtype}", *seeded])


def _elsewhere(options: Any) -> Subject:
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.errors import reject
    from attention_ref.spec.operations import OPERATIONS

    for name in ("arrays", "dialect", "engine"):
        if getattr(options, name):
            raise UsageError(f"--{name} is for what runs in this process, not for --exec and --outputs")
    if options.operation and options.operation not in OPERATIONS:
        reject("operation", options.operation, OPERATIONS)
    operations = [options.operation] if options.operation else None
    if options.exec:
        from attention_ref.conformance.subjects.program import program

        return program(options.exec, operations or ["attention"], options.timeout or None)
    from attention_ref.conformance.subjects.result_folder import folder

    if options.seed:
        raise UsageError("--seed is for what can be asked: a folder holds results of the cases as they are shipped")
    return folder(options.outputs, operations)


def _peers() -> Mapping[str, Peer]:
    from attention_ref.conformance.peers import PEERS

    return PEERS


def _version(room: str) -> str:
    version = metadata.version(room)
    return f"{version} on {backends.engine()}" if room == "keras" else version


def _callable(name: str) -> Callable[..., Any]:
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.errors import reject

    module_name, _, path = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the working directory, which `python -m` adds and a console script does not
    try:
        found: Any = import_module(module_name)
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"{module_name} cannot be imported: {type(error).__name__}: {error}\n  {frame.filename}:{frame.lineno}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            reject(f"callable of {module_name}", path, [each for each in dir(found) if not each.startswith("_")])
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{name} is not callable, it is {type(found).__name__}")
    return found
