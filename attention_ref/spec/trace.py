"""Automatic differentiation: gradients, and the size of accumulated rounding errors.

Running a formula on `Traced` numbers records every operation with its partial derivatives. The reverse pass computes
the adjoint of every intermediate value: the derivative of the result with respect to it. Started from cotangents, it
gives the gradient. The sum of each operation's rounding error times its adjoint is the error of the result (Linnainmaa,
"Taylor expansion of the accumulated rounding error", BIT 16, 1976): with `u` the unit roundoff, `a_n` the adjoint and
`x_n` the value of operation `n`, independent errors accumulate to the expected size

    u * sqrt(sum_n (units_n * a_n * x_n)^2)

(Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019).
`units_n` is 1 for an arithmetic operation, 4 for an elementary function, 0 for an exact operation.

Traced numbers can be nested: the outer record then contains the computation of the inner gradients, and so yields the
size of their rounding errors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from attention_ref.spec import numbers
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.numbers import Number

ELEMENTARY_UNITS = 4
"""The roundings that an elementary function counts as: released libraries compute exp with errors of up to 2.4 ulp."""

COARSEST_UNITS = {
    "arithmetic": max(DTYPES[dtype.arithmetic].unit_roundoff for dtype in DTYPES.values()),
    "storage": max(dtype.unit_roundoff for dtype in DTYPES.values()),
    "double": DTYPES["float64"].unit_roundoff,
}
"""The unit roundoff of the coarsest dtype for each precision: bfloat16, whose arithmetic is float32."""

FACTOR = 8
"""The largest permitted ratio of an error to its expected size. Independent roundings almost never reach it; other
orders of summation, fused multiply-adds and other elementary functions stay within it too."""

_order = itertools.count()


Precision = Literal["arithmetic", "storage", "double"]


class Traced:
    """A number and the operation that computed it.

    Arguments:
        value: the number, of any type in `attention_ref.spec.numbers`.
        parents: the operands, each with the partial derivative of this value with respect to it; the integers 1 and -1
            need no number type.
        units: how many roundings the operation counts as.
        precision: the dtype that determines the size of a rounding: that of the `arithmetic`, the `storage` dtype of
            tensors, or `double` for values that every backend computes in float64.
    """

    __slots__ = ("order", "parents", "precision", "units", "value")

    def __init__(
        self,
        value: Number,
        parents: Sequence[tuple[Traced, Number]] = (),
        units: float = 0,
        precision: Precision = "arithmetic",
    ) -> None:
        self.value = value
        self.parents = parents
        self.units = units
        self.precision = precision
        self.order = next(_order)

    def __add__(self, other: Traced) -> Traced:
        return self._binary(other, self.value + other.value, 1, 1)

    def __sub__(self, other: Traced) -> Traced:
        return self._binary(other, self.value - other.value, 1, -1)

    def __mul__(self, other: Traced) -> Traced:
        return self._binary(other, self.value * other.value, other.value, self.value)

    def __truediv__(self, other: Traced) -> Traced:
        quotient = self.value / other.value
        one = numbers.constant(1.0, other.value)
        return self._binary(other, quotient, one / other.value, -quotient / other.value)

    def __neg__(self) -> Traced:
        return self._unary(-self.value, -1, 0)

    def exp(self) -> Traced:
        value = numbers.exp(self.value)
        return self._unary(value, value, ELEMENTARY_UNITS)

    def log(self) -> Traced:
        one = numbers.constant(1.0, self.value)
        return self._unary(numbers.log(self.value), one / self.value, ELEMENTARY_UNITS)

    def sqrt(self) -> Traced:
        value = numbers.sqrt(self.value)
        return self._unary(value, numbers.constant(0.5, self.value) / value, 1)

    def tanh(self) -> Traced:
        value = numbers.tanh(self.value)
        one = numbers.constant(1.0, self.value)
        return self._unary(value, one - value * value, ELEMENTARY_UNITS)

    def sin(self) -> Traced:
        return self._unary(numbers.sin(self.value), numbers.cos(self.value), ELEMENTARY_UNITS)

    def cos(self) -> Traced:
        return self._unary(numbers.cos(self.value), -numbers.sin(self.value), ELEMENTARY_UNITS)

    def erf(self) -> Traced:
        two = numbers.constant(2.0, self.value)
        slope = two / numbers.sqrt(numbers.pi(self.value)) * numbers.exp(-self.value * self.value)
        return self._unary(numbers.erf(self.value), slope, ELEMENTARY_UNITS)

    def pi(self) -> Traced:
        return Traced(numbers.pi(self.value), (), 1, self.precision)

    def constant(self, value: float) -> Traced:
        """Return a constant in this number type; it counts as one rounding, because it may not be exact in the tensor's
        dtype.
        """
        return Traced(numbers.constant(value, self.value), (), 1, self.precision)

    def double(self, value: float) -> Traced:
        return Traced(numbers.double(value, self.value), (), 1, "double")

    def rounded(self) -> Traced:
        return Traced(numbers.rounded(self.value), ((self, 1),), 1)

    def stored(self) -> Traced:
        return Traced(numbers.stored(self.value), ((self, 1),), 1, "storage")

    def restored(self, shift: Traced) -> Traced:
        if not isinstance(self.value, Traced):
            return self
        logarithm = abs(float(shift) + math.log(float(self)))
        return Traced(Traced(self.value.value, ((self.value, 1),), logarithm), ((self, 1),), 0)

    def detached(self) -> Traced:
        return Traced(numbers.detached(self.value))

    def relu_zero(self) -> Traced:
        zero = numbers.constant(0.0, self.value)
        return ReluZero(zero, ((self, zero),))

    def decided(self, gaps: Sequence[Traced]) -> Traced:
        return Decided(self, gaps)

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, Traced) else other)

    __hash__ = object.__hash__

    def __lt__(self, other: Traced | float) -> bool:
        return self.value < (other.value if isinstance(other, Traced) else other)

    def __gt__(self, other: Traced | float) -> bool:
        return self.value > (other.value if isinstance(other, Traced) else other)

    def __float__(self) -> float:
        return float(self.value)

    def _unary(self, value: Number, partial: Number, units: int) -> Traced:
        return Traced(value, ((self, partial),), units, self._lasting())

    def _binary(self, other: Traced, value: Number, partial: Number, other_partial: Number) -> Traced:
        precision = self._lasting() if other.precision == "double" else "arithmetic"
        return Traced(value, ((self, partial), (other, other_partial)), 1, precision)

    def _lasting(self) -> Precision:
        """Return the precision of a function of this number alone: float64 stays, storage becomes arithmetic."""
        return "double" if self.precision == "double" else "arithmetic"


class ReluZero(Traced):
    """ReLU's zero branch: its gradient is 0, but a rounding error passes if it could flip the input's sign."""

    __slots__ = ()


class Decided(Traced):
    """A number that is read because of a choice, with the gaps that led to it."""

    __slots__ = ("gaps",)

    def __init__(self, number: Traced, gaps: Sequence[Traced]) -> None:
        super().__init__(number.value, ((number, 1),))
        self.gaps = gaps


class Rounding(NamedTuple):
    """The size of the rounding errors of one output, independent of the dtype.

    `arithmetic`, `storage` and `double` are expected sizes in units of the unit roundoff of the accumulator, of the
    tensors' dtype and of float64. `underflow` and `storage_underflow` are sums of absolute adjoints: the change of the
    result when every operation loses one smallest subnormal number.
    """

    arithmetic: float
    storage: float
    underflow: float
    storage_underflow: float
    double: float = 0.0


def gradients(outputs: Sequence[Traced], cotangents: Sequence[Number], inputs: Sequence[Traced]) -> list[Number]:
    """Return d sum(cotangent * output) / d input for every input, in the number type of the traced values.

    An input that no output depends on has the gradient 0.

    Arguments:
        outputs: traced results.
        cotangents: one number for every output, of the number type of their values.
        inputs: traced numbers made without parents, before `outputs`.
    """
    adjoints: dict[Traced, Number] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        _accumulate(adjoints, output, cotangent)
    for node in sorted(ancestors(outputs), key=lambda traced: traced.order, reverse=True):
        for parent, partial in node.parents:
            _accumulate(adjoints, parent, _times(adjoints[node], partial))
    return [adjoints.get(node, numbers.constant(0.0, node.value)) for node in inputs]


def roundings(outputs: Iterable[Traced]) -> list[Rounding]:
    """Return the size of the rounding errors of every output."""
    operations: dict[Traced, _Operation] = {}
    return [_rounding(output, operations) for output in outputs]


class _Operation(NamedTuple):
    parents: list[tuple[Traced, float]]
    size: float
    precision: Precision


def _operation(node: Traced, operations: dict[Traced, _Operation]) -> _Operation:
    parents = [(parent, float(partial)) for parent, partial in node.parents]
    if isinstance(node, ReluZero):
        parents = [(cut, float(not has_certain_sign(cut, _rounding(cut, operations)))) for cut, _ in parents]
    return _Operation(parents, node.units * abs(float(node.value)), node.precision)


def has_certain_sign(number: Traced, rounding: Rounding) -> bool:
    """Return whether rounding errors of this size cannot flip the sign of a number in any dtype."""
    errors = [units * getattr(rounding, precision) for precision, units in COARSEST_UNITS.items()]
    return abs(float(number.value)) > FACTOR * math.hypot(*errors)


def _rounding(output: Traced, operations: dict[Traced, _Operation]) -> Rounding:
    errors: dict[Precision, list[float]] = {precision: [] for precision in get_args(Precision)}
    adjoint_sums = dict.fromkeys(get_args(Precision), 0.0)
    adjoints = {output: 1.0}
    for node in sorted(ancestors([output]), key=lambda traced: traced.order, reverse=True):
        adjoint = adjoints[node]
        if node not in operations:
            operations[node] = _operation(node, operations)
        parents, size, precision = operations[node]
        if size:
            errors[precision].append(adjoint * size)
            adjoint_sums[precision] += abs(adjoint)
        for parent, partial in parents:
            adjoints[parent] = adjoints.get(parent, 0.0) + adjoint * partial
    return Rounding(  # hypot, because the squares of small numbers would underflow
        arithmetic=math.hypot(*errors["arithmetic"]),
        storage=math.hypot(*errors["storage"]),
        underflow=adjoint_sums["arithmetic"],
        storage_underflow=adjoint_sums["storage"],
        double=math.hypot(*errors["double"]),
    )


def gaps(outputs: Iterable[Traced]) -> list[Traced]:
    """Return by how much the numbers exceed their rivals that the computation of the outputs chose, in its order."""
    found = {gap for node in ancestors(outputs) if isinstance(node, Decided) for gap in node.gaps}
    return sorted(found, key=lambda gap: gap.order)


def ancestors(outputs: Iterable[Traced]) -> set[Traced]:
    """Return every number that the outputs were computed from, including themselves."""
    found = set(outputs)
    pending = list(found)
    while pending:
        for parent, _ in pending.pop().parents:
            if parent not in found:
                found.add(parent)
                pending.append(parent)
    return found


def _times(adjoint: Number, partial: Number) -> Number:
    if isinstance(partial, int):
        return adjoint if partial == 1 else -adjoint
    return adjoint * partial


def _accumulate(adjoints: dict[Traced, Number], node: Traced, amount: Number) -> None:
    adjoints[node] = adjoints[node] + amount if node in adjoints else amount
