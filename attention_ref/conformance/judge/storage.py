"""Memory that the judge shares with the process of a subject: inputs are written here, and read after the call."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_ALIGNMENT = 64


@dataclass(frozen=True)
class Place:
    """The location of an array: `size` numbers of a NumPy dtype from an offset on."""

    offset: int
    shape: tuple[int, ...]
    stored: str
    """The dtype as NumPy stores it."""

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.stored).itemsize

    def to_json(self) -> dict[str, Any]:
        """Return it as data."""
        return {"offset": self.offset, "shape": list(self.shape), "stored": self.stored}


class Storage:
    """A file in memory. Fresh places are taken one after the other; at the end they begin again at the start."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._file = tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)  # noqa: SIM115, PTH112, S108
        self._file.truncate(self.size)
        self.descriptor = self._file.fileno()
        self._memory = mmap.mmap(self.descriptor, self.size)
        self._next = 0

    def write(self, arrays: Mapping[str, np.ndarray], places: Mapping[str, Place] | None = None) -> dict[str, Place]:
        """Write arrays to fresh places, or over those of an earlier call, and return where they lie."""
        found = dict(places) if places else {name: self._fresh(array) for name, array in arrays.items()}
        for name, array in arrays.items():
            view(self._memory, found[name])[...] = array
        return found

    def changed(self, arrays: Mapping[str, np.ndarray], places: Mapping[str, Place]) -> list[str]:
        """Return the names of the arrays whose bits are no longer those that were written."""
        return [name for name, array in arrays.items() if view(self._memory, places[name]).tobytes() != array.tobytes()]

    def close(self) -> None:
        """Free the memory."""
        self._memory.close()
        self._file.close()

    def _fresh(self, array: np.ndarray) -> Place:
        if self._next + array.nbytes + _ALIGNMENT > self.size:
            self._next = 0
        place = Place(self._next, array.shape, array.dtype.str)
        self._next += -(-max(array.nbytes, 1) // _ALIGNMENT) * _ALIGNMENT
        return place


def view(memory: mmap.mmap, place: Place) -> np.ndarray:
    """Return the array at a place, without a copy."""
    count = int(np.prod(place.shape, dtype=np.int64))
    return np.frombuffer(memory, place.stored, count, place.offset).reshape(place.shape)
