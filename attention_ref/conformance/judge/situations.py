"""The situations that the judge asks for: lengths around tile edges, head sizes, options, their pairs, distributions.

A situation is some fields of a call: what is fixed is which there are, what is drawn is every number in them and
everything else of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from attention_ref.conformance.judge.scenario import DISTRIBUTIONS, RETURNS

Size = Literal["small", "full", "large"]
"""How long the lengths are: up to 449, up to 2048, up to 8192."""
Fields = dict[str, Any]


@dataclass
class Choices:
    """Random choices.

    Arguments:
        generator: of all of them.
        size: how long the calls are.
    """

    generator: np.random.Generator
    size: Size

    def one(self, *names: Any) -> Any:
        """Return one of several things."""
        return names[int(self.generator.integers(len(names)))]

    def uneven(self, low: int, high: int) -> int:
        """Return a head size from `low` to `high` that is no multiple of 8."""
        return self.one(*(size for size in range(low, high + 1) if size % 8))

    def any_uneven(self) -> int:
        """Return any head size that is no multiple of 8."""
        return self.uneven(*self.one(*_BETWEEN[self.size]))


Situations = Callable[[Choices], Iterator[Fields]]

HEADS = ((1, 1), (2, 2), (3, 1), (4, 1), (4, 4), (8, 2), (8, 1), (8, 8))
"""Query heads and key/value heads: groups of 1, 4 and 8, and a single key head."""
_EDGES: dict[str, tuple[int, ...]] = {"small": (1, 7, 63, 64, 65, 127, 128, 129, 255, 256, 257)}
_EDGES["full"] = (*_EDGES["small"], 1000, 1024, 2048)
_EDGES["large"] = (*_EDGES["full"], 4095, 4096, 4097, 8192)
_BETWEEN: dict[str, tuple[tuple[int, int], ...]] = {"small": ((1, 1), (2, 7), (9, 15), (17, 31), (33, 63), (65, 95))}
_BETWEEN["full"] = (*_BETWEEN["small"], (97, 127), (129, 255))
_BETWEEN["large"] = _BETWEEN["full"]
"""Ranges of head sizes between those that kernels are written for."""
_SHORT, _LONG = (63, 64, 65, 127, 128, 129), (255, 256, 257, 300, 320, 385, 449)
_CACHES = {"small": (257, 300, 385), "full": (1000, 1024, 1025, 2048), "large": (4096, 4097, 8192)}


def _lengths(d: Choices) -> Iterator[Fields]:
    """Every edge as the number of keys, and as the number of queries; every number of heads."""
    for edge in _EDGES[d.size]:
        yield {"keys": edge, "queries": d.one(edge, 1, *_SHORT)}
        if edge <= _LONG[-1]:
            yield {"queries": edge, "keys": d.one(*_SHORT, *_LONG)}
    for heads, groups in (*HEADS[2:], (12, 4), (16, 16)):
        yield {"queries": d.one(*_SHORT), "keys": d.one(*_SHORT), "heads": heads, "groups": groups}
    yield {"queries": d.one(*_SHORT), "keys": d.one(*_SHORT), "batch": d.one(3, 5)}


def _between(d: Choices) -> Fields:
    """Lengths below and above the tiles that kernels have."""
    return {"queries": d.one(*_SHORT, *_LONG), "keys": d.one(*_SHORT, *_LONG)}


def _tall(d: Choices) -> Fields:
    """Several tiles of queries and of keys."""
    return {"queries": d.one(*_LONG), "keys": d.one(*_LONG)}


def _square(d: Choices) -> Fields:
    length = d.one(*_LONG)
    return {"queries": length, "keys": length}


def _head_sizes(d: Choices) -> Iterator[Fields]:
    """Head sizes that are no multiple of 8, of every range, for values too."""
    for low, high in _BETWEEN[d.size]:
        size = d.uneven(low, high)
        yield {**_between(d), "head_size": size, "value_size": size}
        yield {**_between(d), "head_size": d.any_uneven(), "value_size": d.uneven(low, high)}
    yield {**_square(d), "causal": True, "head_size": d.any_uneven()}


def _options(d: Choices) -> Iterator[Fields]:
    """Every option alone, on several tiles, and on lengths around an edge."""
    yield {**_square(d), "causal": True}
    yield {**_between(d), "causal": True}
    yield {**_tall(d), "causal": True}
    for kind in ("random", "late"):
        for axes in ("bhqk", "b1qk", "qk"):
            yield {**_between(d), "mask": f"{kind}.{axes}", "batch": d.one(1, 2)}
    yield {**_tall(d), "mask": f"late.{d.one('bhqk', '11qk')}"}
    for text in ("normal.bhqk", "normal.1hqk", "normal.qk", "holes.bhqk", "holes.1h1k"):
        yield {**_between(d), "bias": text, "batch": 2 if text[-4] == "b" else d.one(1, 2)}
    yield {**_tall(d), "bias": d.one("normal.1hqk", "normal.bhqk")}
    for window in (_narrow, _wide):
        yield {**_square(d), "window": (window(d), window(d))}
        yield {**_square(d), "window": d.one((window(d), None), (window(d), 0))}
        yield {**_square(d), "window": d.one((None, window(d)), (0, window(d)))}
    yield _ragged({**_between(d), "batch": 2}, d)
    yield _ragged({**_tall(d), "batch": 2}, d)
    yield _ragged({**_tall(d), "batch": 2, "distribution": "padding"}, d)
    yield {**_tall(d), "batch": 2, "lengths": (d.one(1, 2, 3), d.one(*_SHORT))}  # whole tiles of padding
    yield {**_between(d), "scale": d.one(0.3, 0.07, 1.0, -0.125)}
    yield {**_tall(d), "scale": d.one(0.3, 0.07)}
    yield {**_between(d), "scale": -0.125, "distribution": "large"}  # the highest score has the lowest product
    yield {**_between(d), "softcap": d.one(2.0, 15.0, 50.0)}
    yield {**_tall(d), "softcap": d.one(2.0, 5.0), "distribution": d.one("normal", "large")}
    yield {**_between(d), "sinks": True}
    yield {**_tall(d), "sinks": True}
    heads, groups = d.one(*(pair for pair in HEADS if pair[1] < pair[0] < 8))
    yield {**_between(d), "dropout": d.one(0.1, 0.5), "batch": 2, "heads": heads, "groups": groups}
    yield {**_tall(d), "dropout": d.one(0.1, 0.5)}
    for result in RETURNS:
        yield {**_between(d), "returns": (result,)}
        yield {**_square(d), "causal": True, "returns": (result,)}


def _pairs(d: Choices) -> Iterator[Fields]:
    """Every pair of options, with all that the batch rows of a call can differ in."""
    for first, second in combinations(_alone(d), 2):
        one, other = _alone(d)[first], _alone(d)[second]
        returns = (*one.get("returns", ()), *other.get("returns", ()))
        heads, groups = d.one((2, 1), (2, 2), (4, 2))
        sizes = {"queries": d.one(*_SHORT), "batch": 2, "heads": heads, "groups": groups}
        yield {**sizes, **one, **other, "returns": returns}


def _alone(d: Choices) -> dict[str, Fields]:
    """Return each option by its name, with keys of several tiles; scales are the default of no head size."""
    keys = d.one(*_LONG)
    options: dict[str, Fields] = {
        "causal": {"causal": True},
        "window": {"window": (d.one(_narrow, _wide)(d), d.one(None, 0, _narrow(d)))},
        "lengths": _ragged({"keys": keys, "batch": 2}, d),
        "mask": {"mask": d.one("random.bhqk", "random.b1qk", "late.bhqk")},
        "bias": {"bias": d.one("normal.bhqk", "normal.1hqk", "holes.bhqk")},
        "softcap": {"softcap": d.one(2.0, 5.0)},
        "scale": {"scale": d.one(0.3, 0.6)},
        "sinks": {"sinks": True},
        "dropout": {"dropout": d.one(0.1, 0.5)},
        **{name: {"returns": (name,)} for name in RETURNS},
    }
    return {name: {**fields, "keys": keys} for name, fields in options.items()}


def _shifts(d: Choices) -> Iterator[Fields]:
    """Queries that stand somewhere among the keys, and what interacts with their place."""
    yield {**_shifted(d), "causal": True}
    yield {**_shifted(d), "causal": True, "batch": 2}
    yield {**_square(d), "causal": True, "window": (d.one(_narrow, _wide)(d), None)}
    yield {**_shifted(d), "causal": True, "window": (_narrow(d), d.one(None, 0))}
    yield {**_shifted(d), "window": (_wide(d), _narrow(d))}
    yield _ragged({**_square(d), "batch": 2, "causal": True}, d)
    yield _padded({**_square(d), "batch": 2, "causal": True, "distribution": "padding"}, d)
    yield _padded({**_shifted(d), "batch": 2, "causal": True, "window": (_narrow(d), None)}, d)
    yield {**_square(d), "causal": True, "mask": d.one("random.b1qk", "late.bhqk")}
    yield {**_square(d), "causal": True, "bias": d.one("normal.1hqk", "holes.bhqk")}
    yield {**_square(d), "sinks": True, "window": (_narrow(d), 0), "causal": True}
    yield {**_between(d), "softcap": 3.0, "scale": 0.3, "mask": "random.qk"}
    yield _ragged({**_between(d), "batch": 2, "sinks": True, "softcap": 5.0}, d)


def _caches(d: Choices) -> Iterator[Fields]:
    """Few queries after a long cache, and chunks of a prompt."""
    for keys in _CACHES[d.size]:
        yield {"queries": d.one(1, 7), "keys": keys}
        yield _padded({"queries": d.one(1, 7, 17), "keys": keys, "batch": 2, "causal": True}, d)
        yield {**_chunk(d, keys), "causal": True}
    yield _ragged({"queries": 1, "keys": d.one(*_CACHES[d.size]), "batch": 2}, d)


def _distributions(d: Choices) -> Iterator[Fields]:
    """Every distribution, with queries and keys of several tiles, and with what hides keys."""
    for kind in DISTRIBUTIONS:
        if kind not in ("normal", "padding"):
            yield {**_between(d), "distribution": kind}
            yield {**_tall(d), "distribution": kind}
            yield {**_square(d), "distribution": kind, "causal": True}
    for kind in ("dominant", "large"):  # a hidden key may have the highest score by far
        yield {**_between(d), "distribution": kind, "mask": d.one("random.bhqk", "late.qk")}
        yield {**_square(d), "distribution": kind, "window": (_narrow(d), _wide(d))}
        yield {**_square(d), "distribution": kind, "causal": True, "window": (_narrow(d), None)}
        yield _ragged({**_between(d), "batch": 2, "distribution": kind}, d)
        yield {**_between(d), "distribution": kind, "sinks": True}
        yield {**_between(d), "distribution": kind, "bias": "holes.1hqk"}


SITUATIONS: tuple[Situations, ...] = (_lengths, _head_sizes, _options, _pairs, _shifts, _caches, _distributions)
"""All of them."""


def _narrow(d: Choices) -> int:
    return d.one(3, 15, 16, 17, 31, 32, 40)


def _wide(d: Choices) -> int:
    return d.one(63, 64, 65, 100, 127, 128, 129, 150)


def _shifted(d: Choices) -> Fields:
    """Queries that stand somewhere behind the first key, before the end."""
    sizes = {"queries": d.one(*_SHORT), "keys": d.one(*_LONG)}
    most = sizes["keys"] - sizes["queries"]
    return {**sizes, "offsets": (d.one(most, d.one(1, 5, 64, 65), int(d.generator.integers(1, most + 1))),)}


def _chunk(d: Choices, keys: int) -> Fields:
    """A chunk of a prompt in every batch row, at places of their own."""
    queries = d.one(64, 65, 100, 128)
    offsets = d.generator.integers(1, keys - queries + 1, 2)
    return {"queries": queries, "keys": keys, "batch": 2, "offsets": tuple(map(int, offsets))}


def _ragged(fields: Fields, d: Choices) -> Fields:
    """Key lengths that end within, at and after edges of tiles."""
    edges = [n for n in (1, 33, *_SHORT, 191, 192, 193, *_LONG, 512, 513, 1000) if n <= fields["keys"]]
    lengths = tuple(d.one(*edges, fields["keys"]) for _ in range(fields["batch"]))
    return {**fields, "lengths": lengths}


def _padded(fields: Fields, d: Choices) -> Fields:
    """Key lengths, and queries that are the last of them."""
    lengths = _ragged(fields, d)["lengths"]
    offsets = tuple(max(length - fields["queries"], 0) for length in lengths)
    return {**fields, "lengths": lengths, "offsets": offsets if any(offsets) else (0,) * fields["batch"]}
