"""The number types that the specification runs on, and the functions that it needs of them.

The formulas are written once and accept any of

- `float`: the value;
- `mpmath.mpf`: the value to as many digits as its context holds (this module does not import mpmath: such a number
  brings its own functions);
- `attention_ref.spec.trace.Traced`: the value with a record of how it came about, which gives derivatives and the
  size of rounding errors.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

Number = Any
"""`float`, `mpmath.mpf` or `Traced`."""


def constant(value: float, like: Number) -> Number:
    """Give `value` in the number type of `like`."""
    if isinstance(like, float):
        return float(value)
    if hasattr(like, "constant"):
        return like.constant(value)
    return type(like)(value)


def double(value: float, like: Number) -> Number:
    """Give `value` in the number type of `like` as a number that every backend keeps in float64, in every dtype.

    What is computed of such numbers alone is computed in float64, until `rounded` gives it back to the dtype.
    """
    return like.double(value) if hasattr(like, "double") else constant(value, like)


def rounded(number: Number) -> Number:
    """Round what was computed in float64 to the precision of the arithmetic, once."""
    return number.rounded() if hasattr(number, "rounded") else number


def single(number: Number) -> float:
    """Round to float32, for what others compute in that precision on the way."""
    return struct.unpack("f", struct.pack("f", float(number)))[0]


def stored(number: Number) -> Number:
    """Mark a value that a framework keeps as a tensor, so that it rounds to the tensor's own dtype.

    A float or an mpf is given back as it is. In float16 and bfloat16 everything between two marks is computed in at
    least float32.
    """
    return number.stored() if hasattr(number, "stored") else number


def restored(denominator: Number, shift: Number) -> Number:
    """Mark a softmax's denominator that gradients may restore from its stored logarithm, `shift + log(denominator)`.

    What rounds the logarithm by `u |log|` moves the denominator by as much, relative to it. Values are computed from
    the denominator itself: in the record of a value nothing rounds, in that of a gradient this does.
    """
    return denominator.restored(shift) if hasattr(denominator, "restored") else denominator


def detached(number: Number) -> Number:
    """Take a number out of the record of derivatives, where the result does not depend on it."""
    return number.detached() if hasattr(number, "detached") else number


def cut(number: Number) -> Number:
    """Give 0 in the type of a number that is not positive.

    In the record its slope is 0 too, but rounding errors pass where they may turn its sign.
    """
    return number.cut() if hasattr(number, "cut") else constant(0.0, number)


def _function(name: str, number: Number) -> Number:
    """Call a function on a float by `math`, on an mpf by its context, on a traced number by its own method."""
    if isinstance(number, float):
        return getattr(math, name)(number)
    if hasattr(number, "context"):
        return getattr(number.context, name)(number)
    return getattr(number, name)()


def exp(number: Number) -> Number:
    """The exponential; a float that is too large gives infinity, as in IEEE arithmetic."""
    try:
        return _function("exp", number)
    except OverflowError:
        return math.inf


def log(number: Number) -> Number:
    """The natural logarithm."""
    return _function("log", number)


def sqrt(number: Number) -> Number:
    """The square root."""
    return _function("sqrt", number)


def tanh(number: Number) -> Number:
    """The hyperbolic tangent."""
    return _function("tanh", number)


def sin(number: Number) -> Number:
    """The sine of an angle in radians."""
    return _function("sin", number)


def cos(number: Number) -> Number:
    """The cosine of an angle in radians."""
    return _function("cos", number)


def erf(number: Number) -> Number:
    """The error function."""
    return _function("erf", number)


def pi(like: Number) -> Number:
    """The number pi in the type of `like`."""
    if isinstance(like, float):
        return math.pi
    return like.pi() if hasattr(like, "pi") else +like.context.pi


def power(base: float, exponent: Number) -> Number:
    """A positive constant raised to a number, `exp(exponent * log(base))`."""
    if isinstance(exponent, float):
        return base**exponent
    return exp(exponent * log(double(base, exponent)))


LARGEST_REAL = sys.float_info.max


def is_finite(number: Any) -> bool:
    """Whether a real number is one that float64 reaches; True and False are no numbers.

    It is compared, for a compiler that traces it cannot call `math.isfinite`, and a large integer turns into no float.
    """
    is_number = type(number) is float or (isinstance(number, Real) and not isinstance(number, bool))
    return is_number and -LARGEST_REAL <= number <= LARGEST_REAL


def is_nan(number: Number) -> bool:
    """Say whether a number is not a number."""
    return bool(number != number)


def maximum(numbers: Sequence[Number]) -> Number:
    """The largest of at least one number; NaN when any of them is NaN, as in IEEE 754-2019 `maximum`."""
    for number in numbers:
        if is_nan(number):
            return number
    return max(numbers)


def total(numbers: Iterable[Number]) -> Number:
    """The sum of at least one number, added from the first to the last."""
    iterator = iter(numbers)
    result = next(iterator)
    for number in iterator:
        result = result + number
    return result


def dot(left: Sequence[Number], right: Sequence[Number]) -> Number:
    """The inner product of two vectors of the same positive length."""
    return total(a * b for a, b in zip(left, right, strict=True))
