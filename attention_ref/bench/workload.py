"""A computation to time, and those that compute it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Call = Callable[[], Any]


@dataclass(frozen=True)
class Contestant:
    """One way to compute a workload.

    Arguments:
        name: a backend such as `numpy`, one of its paths such as `numpy:reference`, or a function of a framework.
        prepare: imports what it needs, makes its arrays and compiles; returns the call to time, which computes to the
            end before it returns.
        requires: the packages that it imports.
        is_fused: whether it is the fused kernel of a framework, which the backends are compared with.
    """

    name: str
    prepare: Callable[[], Call]
    requires: tuple[str, ...] = ()
    is_fused: bool = False


@dataclass(frozen=True)
class Workload:
    """One computation at one size.

    Arguments:
        operation: what is computed, such as `attention, causal`.
        length: what grows from one size to the next: the number of keys or tokens.
        sizes: all sizes in words.
        contestants: those that compute it.
        operations: the floating-point operations that it cannot do without; 0 where they are not counted.
        bytes: the bytes that it has to read and write at least; 0 where they are not counted.
    """

    operation: str
    length: int
    sizes: str
    contestants: tuple[Contestant, ...]
    operations: float = 0
    bytes: float = 0
