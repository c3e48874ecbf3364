"""Subjects by name: `module:callable`, `path/to/file.py:callable`, or a peer such as `torch.sdpa`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from attention_ref.conformance.dialects.adapter import narrowed
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.import_callable import import_callable
from attention_ref.conformance.peers import PEERS, require_peer
from attention_ref.conformance.peers.peer import found


class Loaded(NamedTuple):
    """A function, and its dialect if its name implies one."""

    function: Callable[..., Any]
    dialect: Dialect | None = None


def load(name: str) -> Loaded:
    """Import a callable, or the attention of a peer.

    Raises:
        UsageError: when it cannot be imported, or is none.
    """
    return Loaded(import_callable(name)) if ":" in name else _peer(name)


def _peer(name: str) -> Loaded:
    if name not in PEERS:
        reject("subject", name, [*PEERS, "module:callable", "path/to/file.py:callable"])
    known = PEERS[name]
    if not known.attention:
        raise UsageError(f"{known.description} has no attention")
    try:
        require_peer(name)
        function = found(known.attention)
    except ImportError as error:
        raise UsageError(str(error)) from error
    return Loaded(function, narrowed(known.own_dialect, function))
