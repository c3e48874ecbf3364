"""Orders of axes, written as phrases: `"batch length heads size"`, or `"batch length heads*size"` with merged axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attention_ref.conformance.frameworks import framework_of

TENSOR = ("batch", "heads", "length", "size")
"""The axes of query, key, value and output, in the order of the specification."""
SCORES = ("batch", "heads", "queries", "keys")
"""The axes of masks and weights."""
ROWS = ("batch", "heads", "queries")
"""The axes of log-sum-exp."""
TOKENS = ("tokens", "heads", "size")
"""The axes of packed query, key, value and output: the tokens of all sequences one after the other."""
TOKEN_ROWS = ("tokens", "heads")
"""The axes of packed log-sum-exp."""
PAGES = ("pages", "slots", "heads", "size")
"""The axes of paged keys and values."""
JOINED = ("batch", "tensors", "heads", "length", "size")
"""The axes of query, key and value in one array."""
JOINED_TOKENS = ("tokens", "tensors", "heads", "size")
"""The axes of query, key and value of packed sequences in one array."""

Phrase = tuple[tuple[str, ...], ...]


def parse(text: str) -> Phrase:
    """Parse a phrase into its axes, each a tuple of the axes merged into it, outermost first."""
    return tuple(tuple(axis.split("*")) for axis in text.split())


def flat(phrase: Phrase) -> list[str]:
    """Return the axis names of a phrase in order."""
    return [name for axis in phrase for name in axis]


def arrange(array: Any, phrase: Phrase, names: Sequence[str]) -> Any:
    """Permute and merge axes from the specification's order to that of a phrase.

    Arguments:
        array: has the axes `names`; the first name may stand for any number of axes.
        phrase: contains each name once.
        names: such as `TENSOR`.
    """
    if _is_same(phrase, names):
        return array
    framework, places = framework_of(array), _places(names, len(array.shape))
    order = [place for name in flat(phrase) for place in places[name]]
    sizes = {name: [int(array.shape[place]) for place in places[name]] for name in names}
    return framework.reshape(framework.transpose(array, order), shape_in(phrase, sizes))


def restore(array: Any, phrase: Phrase, names: Sequence[str], sizes: Mapping[str, Sequence[int]]) -> Any:
    """Split and permute axes from the order of a phrase to the specification's.

    Arguments:
        array: has the shape `shape_in(phrase, sizes)`.
        sizes: the axis sizes of each name: any number for the first, one for the others.
    """
    if _is_same(phrase, names):
        return array
    framework, order = framework_of(array), flat(phrase)
    unfolded = framework.reshape(array, [size for name in order for size in sizes[name]])
    counts = {name: len(sizes[name]) for name in names}
    starts = {name: sum(counts[earlier] for earlier in order[: order.index(name)]) for name in names}
    return framework.transpose(unfolded, [starts[name] + i for name in names for i in range(counts[name])])


def shape_in(phrase: Phrase, sizes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Return the shape of an array in the order of a phrase."""
    shape: list[int] = []
    for axis in phrase:
        if len(axis) == 1:
            shape += sizes[axis[0]]
        else:
            shape.append(_product([size for name in axis for size in sizes[name]]))
    return tuple(shape)


def _places(names: Sequence[str], rank: int) -> dict[str, list[int]]:
    first = rank - (len(names) - 1)
    return {names[0]: list(range(first)), **{name: [first + i] for i, name in enumerate(names[1:])}}


def _is_same(phrase: Phrase, names: Sequence[str]) -> bool:
    return phrase == tuple((name,) for name in names)


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
