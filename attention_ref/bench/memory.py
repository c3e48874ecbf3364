"""The most memory that a call holds beyond what stood before it, as the operating system counts it."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

from attention_ref.bench.workload import Call

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # see proc(5)


def peak_beyond(call: Call) -> int | None:
    """Return the bytes by which the memory of the process grew at its peak during a call, its result included.

    None where the system does not tell, which is everywhere but on Linux. Memory that was freed before is returned to
    the system first; what a framework keeps in an allocator of its own is not seen.
    """
    try:
        _return_freed_memory()
        RESET.write_text(RESET_PEAK)
        before = _kibibytes("VmRSS")
        result = call()
        after = _kibibytes("VmHWM")
    except (OSError, KeyError):
        return None
    del result
    return max(0, after - before) * 1024


def _return_freed_memory() -> None:
    """Return what was freed to the system, where the C library is one that can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _kibibytes(name: str) -> int:
    lines = (line.partition(":") for line in STATUS.read_text().splitlines())
    return int({key: value for key, _, value in lines}[name].split()[0])
