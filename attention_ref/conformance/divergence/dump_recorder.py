"""Recorded tensors in place of a model that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.recording import Recorder, Recording, Replace
from attention_ref.conformance.errors import UsageError
from attention_ref.spec.dtypes import DTYPES


class DumpRecorder(Recorder):
    """Tensors by name, in the order of their computation.

    A tensor with the same values as an earlier one of as many numbers is that tensor under another name and left out.

    Arguments:
        tensors: NumPy arrays.
        name: in reports.
        digits: how many significant decimal digits the tensors are written with; all when None.

    Raises:
        UsageError: if none of them holds real numbers.
    """

    def __init__(self, tensors: Mapping[str, Any], name: str, digits: int | None = None) -> None:
        arrays = {key: np.asarray(each) for key, each in tensors.items()}
        arrays = {key: each for key, each in arrays.items() if each.dtype.name in DTYPES and each.size}
        if not arrays:
            raise UsageError(f"{name} has no tensor with real numbers")
        coarsest = max((each.dtype.name for each in arrays.values()), key=lambda dtype: DTYPES[dtype].unit_roundoff)
        super().__init__(name, coarsest)
        self.digits = digits
        self.values: dict[str, np.ndarray] = {}
        known: set[tuple[int, bytes]] = set()
        for key, array in arrays.items():
            contents = (array.size, array.tobytes())
            if contents not in known:
                known.add(contents)
                self.values[key] = array.astype(np.float64)

    @property
    def unit(self) -> float:
        """The roundoff of the dtype, or half a unit in the last digit that is written."""
        return super().unit if self.digits is None else max(super().unit, 0.5 * 10.0 ** (1 - self.digits))

    def run(self, replace: Replace | None = None) -> Recording:  # noqa: ARG002
        """Return the tensors."""
        return Recording(dict(self.values))
