"""The number types that the specification runs on, and their functions.

The formulas are written once and accept any of

- `float`: the value;
- `mpmath.mpf`: the value to the precision of its context (this module does not import mpmath, but calls the functions
  of the number's context);
- `attention_ref.spec.trace.Traced`: the value and a record of its computation, for derivatives and the size of rounding
  errors.
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
    """Return `value` in the number type of `like`."""
    if isinstance(like, float):
        return float(value)
    if hasattr(like, "constant"):
        return like.constant(value)
    return type(like)(value)


def double(value: float, like: Number) -> Number:
    """Return `value` in the number type of `like`, marked as a number that every backend represents in float64.

    Operations on such numbers alone are computed in float64; `rounded` ends that.
    """
    return like.double(value) if hasattr(like, "double") else constant(value, like)


def rounded(number: Number) -> Number:
    """Mark that a number computed in float64 is rounded to the precision of the arithmetic, once."""
    return number.rounded() if hasattr(number, "rounded") else number


def single(number: Number) -> float:
    """Round to float32, for steps that other libraries compute in that precision."""
    return struct.unpack("f", struct.pack("f", float(number)))[0]


def stored(number: Number) -> Number:
    """Mark a value that a framework stores in a tensor, which rounds it to the tensor's dtype.

    A float or an mpf is returned unchanged. In float16 and bfloat16 everything between two marks is computed in at
    least float32.
    """
    return number.stored() if hasattr(number, "stored") else number


def restored(denominator: Number, shift: Number) -> Number:
    """Mark a softmax's denominator that gradients may restore from its stored logarithm, `shift + log(denominator)`.

    Rounding the logarithm by `u |log|` changes the denominator by that much, relative to it. Values use the denominator
    itself, so that this rounding counts in the record of gradients only.
    """
    return denominator.restored(shift) if hasattr(denominator, "restored") else denominator


def detached(number: Number) -> Number:
    """Return a number without its record, as a constant of derivatives."""
    return number.detached() if hasattr(number, "detached") else number


def relu_zero(number: Number) -> Number:
    """Return 0, ReLU of a number that is not positive, in its type.

    Its derivative is 0 too, but rounding errors pass if they could flip the number's sign.
    """
    return number.relu_zero() if hasattr(number, "relu_zero") else constant(0.0, number)


def decided(number: Number, gaps: Sequence[Number]) -> Number:
    """Mark a number that is read because others are larger than their rivals, by these gaps.

    The number changes by a step where rounding turns a gap around. No size of rounding errors says by how much, so that
    what compares results has to make sure that no gap is that small.
    """
    return number.decided(gaps) if hasattr(number, "decided") else number


def _function(name: str, number: Number) -> Number:
    """Call a function from `math` for a float, from its context for an mpf, and as a method for a traced number."""
    if isinstance(number, float):
        return getattr(math, name)(number)
    if hasattr(number, "context"):
        return getattr(number.context, name)(number)
    return getattr(number, name)()


def exp(number: Number) -> Number:
    """The exponential; infinity for a float that is too large, as in IEEE arithmetic."""
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
    """Return whether a number is NaN."""
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
