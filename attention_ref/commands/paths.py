"""The attention of every backend by one path, as functions that a new process can import: `torch_fused` and so on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attention_ref import backends


def __getattr__(name: str) -> Callable[..., Any]:
    room, _, path = name.partition("_")
    if room not in backends.ROOMS or path not in backends.IMPLEMENTATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(backends.backend(room).attention, implementation=path)
