"""What the machine itself can do: its rate of matrix products and its memory bandwidth, measured in NumPy."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

PRODUCT_SIZE, COPIED = 1024, 2**26


@dataclass(frozen=True)
class Machine:
    """The limits of a machine, for the threads that NumPy may use.

    Arguments:
        processor: its kind, in the words of the operating system.
        processors: how many there are.
        threads: how many the frameworks may use, as OMP_NUM_THREADS says; all when 0.
        products: floating-point operations a second of a float32 matrix product of 1024 by 1024.
        bandwidth: bytes a second that a copy of 64 MiB reads and writes.
    """

    processor: str
    processors: int
    threads: int
    products: float
    bandwidth: float

    def shortest(self, operations: float, bytes: float) -> float:
        """Return the seconds in which nothing on this machine computes so many operations and moves so many bytes.

        max(operations / products, bytes / bandwidth)
        """
        return max(operations / self.products, bytes / self.bandwidth)

    def to_dict(self) -> dict[str, Any]:
        """Return it as data for JSON."""
        return asdict(self)


def measure_machine(rounds: int = 7) -> Machine:
    """Measure the machine: the best of some rounds, since a limit is what is possible."""
    array = np.random.default_rng(0).normal(size=(PRODUCT_SIZE, PRODUCT_SIZE)).astype(np.float32)
    source = np.zeros(COPIED // 4, np.float32)
    target = np.empty_like(source)
    product = min(_seconds(lambda: array @ array) for _ in range(rounds))
    copy = min(_seconds(lambda: np.copyto(target, source)) for _ in range(rounds))
    return Machine(
        processor=_processor(),
        processors=os.cpu_count() or 1,
        threads=int(os.environ.get("OMP_NUM_THREADS") or 0),
        products=2 * PRODUCT_SIZE**3 / product,
        bandwidth=2 * COPIED / copy,
    )


def _seconds(call: Any) -> float:
    started = time.process_time()
    call()
    return max(time.process_time() - started, 1e-9)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - read to the first match only
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()
