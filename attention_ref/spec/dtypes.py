"""Floating-point dtypes: their formats, and the dtype in which each is computed.

a number of a dtype = +-significand * 2**exponent,     1 <= significand < 2,     `precision` bits of significand
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple


class Dtype(NamedTuple):
    """A floating dtype (IEEE 754-2019, section 3.3; bfloat16: the upper half of a float32).

    Arguments:
        name: the name that NumPy, PyTorch, TensorFlow and JAX have for it.
        precision: bits of the significand, the leading one included.
        lowest, highest: exponents of the smallest normal number and of the largest number.
        arithmetic: the dtype in which a call on such tensors computes scores, softmax and sums.
    """

    name: str
    precision: int
    lowest: int
    highest: int
    arithmetic: str

    @property
    def unit_roundoff(self) -> float:
        """Half the distance from 1 to the next number: the largest relative error of rounding."""
        return 2.0**-self.precision

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with all bits of precision."""
        return 2.0**self.lowest

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number."""
        return 2.0 ** (self.lowest - self.precision + 1)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2 - 2.0 ** (1 - self.precision)) * 2.0**self.highest

    @property
    def digits(self) -> int:
        """The number of decimal digits that distinguish any two of its numbers."""
        return math.ceil(1 + self.precision * math.log10(2))

    def holds(self, number: float) -> bool:
        """Return whether a number is exactly representable; NaN and the infinities always are."""
        if number == 0 or not math.isfinite(number):
            return True
        numerator, denominator = number.as_integer_ratio()
        last = (numerator & -numerator).bit_length() - denominator.bit_length()
        first = math.frexp(number)[1] - 1
        return last >= self.lowest - self.precision + 1 and self.reaches(number) and first - last < self.precision

    def reaches(self, number: float) -> bool:
        """Return whether a number that is already rounded to the precision does not overflow."""
        return not math.isfinite(number) or math.frexp(number)[1] - 1 <= self.highest


DTYPES: Mapping[str, Dtype] = {
    dtype.name: dtype
    for dtype in (
        Dtype("float64", 53, -1022, 1023, "float64"),
        Dtype("float32", 24, -126, 127, "float32"),
        Dtype("float16", 11, -14, 15, "float32"),
        Dtype("bfloat16", 8, -126, 127, "float32"),
    )
}
"""Every floating-point dtype by its name, the most precise first."""

COMPUTED = tuple(name for name, dtype in DTYPES.items() if dtype.arithmetic == name)
"""The dtypes of arithmetic, in which conformance is checked by default."""
