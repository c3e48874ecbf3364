"""Drawing calls: every draw is a choice of one item of a list, the simpler ones first.

Whoever makes the choices decides how: hypothesis makes them at random, and then simpler and simpler while a law stays
broken.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from attention_ref.spec.arguments import Argument
from attention_ref.spec.operations import ATTENTION
from attention_ref.vectors.call import Call

Pick = Callable[[Sequence[Any]], Any]

GROUPS, EMPTY_ROWS = "groups", "empty rows"
"""What calls may have beside options: heads that share keys and values, and queries that see nothing."""


def numbers(largest: int, denominator: int) -> tuple[float, ...]:
    """Return the multiples of `1/denominator` from `-largest` to `largest`, those with short fractions first."""
    found = {Fraction(number, denominator) for number in range(-largest * denominator, largest * denominator + 1)}
    return tuple(float(each) for each in sorted(found, key=lambda x: (x.denominator, abs(x), x < 0)))


REALS = numbers(2, 128)
"""Exact in bfloat16, and so in every dtype."""
COARSE = numbers(1, 4)
"""Few digits, so that sums and products of them are exact too."""
GARBAGE = (1.0, -1.0, 0.0, 2.0, -2.0, 128.0, -128.0)

_HEADS = ((1, 1), (2, 2), (2, 1), (4, 2))
FEW = {"h": 2, "b": 1, "q": 1, "k": 2, "d": 1, "v": 1, "a": 1}
MANY = {"h": 4, "b": 2, "q": 3, "k": 4, "d": 3, "v": 2, "a": 2}
"""The largest sizes of small calls, and of all, by their letters in the shape legend."""
_SHAPES = ("qk", "bhqk", "b1qk", "hqk", "b11k")
RULES = ATTENTION.hiding
EVERYTHING = ATTENTION.independent_options
REQUESTS = tuple(result.asked_by for result in ATTENTION.results if result.asked_by)
"""The options that ask for results beside the output."""
ORDERLESS = tuple(name for name in EVERYTHING if not ATTENTION[name].counts_positions)
"""The options that do not know the position of a key."""


class Rejected(Exception):  # noqa: N818 - the draw is useless, nothing is wrong
    """Raised to discard what was drawn, as `hypothesis.reject` does."""


class Draw:
    """A source of choices for an operation of a subject.

    Arguments:
        pick: chooses an item of a sequence.
        operation: what is called.
        offered: the options that are drawn where they are not needed, `GROUPS` and `EMPTY_ROWS` among them.
        limits: the largest sizes of a call of attention.
    """

    def __init__(self, pick: Pick, operation: str, offered: Container[str], limits: Mapping[str, int] = MANY) -> None:
        self.pick = pick
        self.operation = operation
        self.offered = offered
        self.limits = limits

    def integer(self, low: int, high: int) -> int:
        """Draw an integer; low ones are simpler."""
        return int(self.pick(range(low, high + 1)))

    def maybe(self, option: str | None = None) -> bool:
        """Draw whether something is there; an option that the subject lacks never is."""
        return (option is None or option in self.offered) and bool(self.pick((False, True)))

    def reals(self, *shape: int, among: Sequence[float] = REALS) -> np.ndarray:
        """Draw real numbers."""
        return np.array([self.pick(among) for _ in range(int(np.prod(shape)))], np.float64).reshape(shape)

    def booleans(self, *shape: int) -> np.ndarray:
        """Draw truth values, two True in three."""
        drawn = [self.pick((True, True, False)) for _ in range(int(np.prod(shape)))]
        return np.array(drawn, bool).reshape(shape)

    def order(self, count: int) -> list[int]:
        """Draw an order of `count` places."""
        left = list(range(count))
        return [left.pop(self.integer(0, len(left) - 1)) for _ in range(count)]

    def some(self, count: int) -> list[int]:
        """Draw at least one and at most `count` places, in any order, any of them perhaps again."""
        return [self.integer(0, count - 1) for _ in range(self.integer(1, count))]

    def heads(self, at_least: int = 1) -> tuple[int, int]:
        """Draw the numbers of query heads and of key/value heads."""
        among = [(h, g) for h, g in _HEADS if at_least <= h <= self.limits["h"] and (h == g or GROUPS in self.offered)]
        return tuple(self.pick(among))

    def call(self, *extras: str, among: Sequence[float] = REALS, **given: Any) -> Call:
        """Draw a call of attention.

        Arguments:
            extras: options that it may have, where the subject has them.
            among: what query, key and value are drawn from.
            given: sizes by letter, and what else is decided.
        """
        sizes = self._sizes(given)
        inputs = {
            "query": self.reals(*sized("bhqd", sizes), among=among),
            "key": self.reals(*sized("bgke", sizes), among=among),
            "value": self.reals(*sized("bgkv", sizes), among=among),
        }
        call = Call(self.operation, inputs | self._kernels(sizes, given))
        for name in extras:
            if self.maybe(name):
                call = call.changed(**self.option(name, call))
        wanted = {name: True for name in REQUESTS if self.maybe(name)}
        return call.changed(**wanted)

    def _sizes(self, given: dict[str, Any]) -> dict[str, int]:
        heads, groups = given.get("heads") or self.heads()
        sizes = {letter: given.get(letter) or self.integer(1, self.limits[letter]) for letter in "bqkdva"}
        return {**sizes, "h": heads, "g": groups, "e": sizes["d"]}

    def _kernels(self, sizes: dict[str, int], given: dict[str, Any]) -> dict[str, np.ndarray]:
        """Draw the kernels of an operation that has some; those that it can do without are drawn or not."""
        among = given.get("kernels", REALS)
        if self.operation == "multiplicative_attention" and self.maybe("score_kernel"):
            return {"score_kernel": self.reals(*sized("de", sizes), among=among)}
        if self.operation != "additive_attention":
            return {}
        if not (self.maybe("query_kernel") and "key_kernel" in self.offered):
            return {"score_kernel": self.reals(sizes["d"])}
        return {
            "score_kernel": self.reals(sizes["a"]),
            "query_kernel": self.reals(*sized("da", sizes), among=among),
            "key_kernel": self.reals(*sized("ea", sizes), among=among),
        }

    def option(self, name: str, call: Call) -> dict[str, Any]:
        """Draw an option for a call, with what it needs and, perhaps, what modifies it."""
        argument, table = call.table[name], call.table
        found = {name: self._value(argument, call)}
        found |= {each: self._value(table[each], call, in_full=True) for each in argument.needs}
        modifiers = (table[each] for each in table.options if name in table[each].modifies)
        for modifier in modifiers:
            is_modified = any(each in call.given for each in modifier.modifies)
            if modifier.name not in found and not is_modified and self.maybe(modifier.name):
                found[modifier.name] = self._value(modifier, call)
        return found

    def _value(self, argument: Argument, call: Call, *, in_full: bool = False) -> Any:
        """Draw a value of an argument by its kind, its axes and its range."""
        if argument.kind == "flag":
            return True
        if argument.kind == "pair":
            return tuple(self.pick((0, 1, None, 2)) for _ in range(2))
        if argument.kind == "number":
            return self.pick([number for number in (1.0, 0.5, 2.0, 0.25, 3.0) if argument.contains(number)])
        sizes = {letter: call.size(letter) for letter in "bhqk"}
        if argument.is_per_row:
            return self._per_row(argument, sizes)
        axes = self.pick(_SHAPES) if argument.broadcasts and not in_full else argument.letters
        return (self.booleans if argument.kind == "bool" else self.reals)(*sized(axes, sizes))

    def _per_row(self, argument: Argument, sizes: dict[str, int]) -> Any:
        """Draw integers, one for each batch row; of an offset one for all rows too."""
        if argument.range:
            among: Sequence[int] = range(sizes["k"], -1, -1)
        else:
            among = (1, 2, -1, 0)
            if not (sizes["b"] > 1 and self.maybe()):
                return self.pick(among)
        return np.array([self.pick(among) for _ in range(sizes["b"])], np.int64)


def sized(letters: str, sizes: dict[str, int]) -> list[int]:
    """Return the shape that letters stand for; a digit stands for itself."""
    return [int(letter) if letter.isdigit() else sizes[letter] for letter in letters]
