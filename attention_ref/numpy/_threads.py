"""Parts of a call on several threads, each of which uses one thread of the matrix library.

Two layers of threads oversubscribe the cores, which was measured to be 1.5 to 2.6 times slower. So Python's threads are
used only if the matrix library can be limited to one thread: by `threadpoolctl`, an optional dependency, or by the
environment. Otherwise the parts run one after another, and the matrix library may use its own threads.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


_WORTH_THREADS = 2**25
"""The fewest multiplications for which more than one thread is used."""


def threads_for(multiplications: int) -> int:
    """Return the number of threads to use: the smallest limit in the environment, or one for each core."""
    if multiplications < _WORTH_THREADS:
        return 1
    set_limits = [os.environ.get(name, "") for name in LIMITS]
    limits = [int(limit) for limit in set_limits if limit.isdecimal() and int(limit) > 0]
    if limits:
        return min(limits)
    if find_spec("threadpoolctl") is None:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(function: Callable[[Any], bool], pieces: Sequence[Any], threads: int) -> bool:
    """Call `function` with every piece, and return whether every call returned True.

    Arguments:
        function: must be thread-safe.
        pieces: its arguments, one for each call.
        threads: how many to use; 1 stops at the first call that returns False.
    """
    if threads == 1 or len(pieces) == 1:
        return all(map(function, pieces))
    with _one_thread_in_products():
        return all(_pool(threads).map(function, pieces))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="attention_ref")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # the threads of a pool do not survive a fork


class _Products:
    """The thread limit of the matrix library, one for the process: the first call sets it, the last lifts it."""

    lock = threading.Lock()
    calls = 0
    limits: Any = None


@contextlib.contextmanager
def _one_thread_in_products() -> Iterator[None]:
    controller = _controller()
    with _Products.lock:
        if _Products.calls == 0 and controller is not None:
            _Products.limits = controller.limit(limits=1)
        _Products.calls += 1
    try:
        yield
    finally:
        with _Products.lock:
            _Products.calls -= 1
            if _Products.calls == 0 and controller is not None:
                _Products.limits.restore_original_limits()


@functools.cache
def _controller() -> Any:
    """Return the controller of NumPy's matrix library, None without `threadpoolctl`."""
    if find_spec("threadpoolctl") is None:
        return None
    return importlib.import_module("threadpoolctl").ThreadpoolController().select(user_api="blas")
