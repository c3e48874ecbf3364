"""The calls that a subject is judged by, drawn from a seed: lengths around tile edges, every option, what interacts.

What is fixed is which situations there are: a length of every edge, every option on lengths below and above the tiles
that kernels have, every pair of options that interact, every distribution. What is drawn is everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from attention_ref.conformance.dialects.dialect import Limits
from attention_ref.conformance.judge.scenario import DISTRIBUTIONS, RETURNS, Scenario

Size = Literal["small", "full", "large"]
"""How long the lengths are: up to 257, up to 2048, up to 8192."""

_EDGES: dict[str, tuple[int, ...]] = {"small": (1, 7, 63, 64, 65, 127, 128, 129, 255, 256, 257)}
_EDGES["full"] = (*_EDGES["small"], 1000, 1024, 2048)
_EDGES["large"] = (*_EDGES["full"], 4095, 4096, 4097, 8192)
_SHORT, _LONG = (63, 64, 65, 127, 128, 129), (255, 256, 257, 300, 320, 385, 449)
_CACHES = {"small": (257, 300, 385), "full": (1000, 1024, 1025, 2048), "large": (4096, 4097, 8192)}
_HEAD_SIZES: dict[str, tuple[int, ...]] = {
    "small": (16, 32, 40, 64, 72, 80),
    "full": (16, 24, 32, 40, 64, 72, 80, 96, 112, 128, 192, 256),
}
_HEAD_SIZES["large"] = _HEAD_SIZES["full"]
ANY = Limits()
_HEADS = ((1, 1), (2, 2), (3, 1), (4, 1), (4, 4), (8, 2), (8, 1), (8, 8))
"""Query heads and key/value heads: groups of 1, 4 and 8, and a single key head."""
_SCORES = {"small": 2**19, "full": 2**21, "large": 2**25}
_GRADIENT_SCORES = {"small": 2**18, "full": 2**19, "large": 2**22}
"""How many scores a call may have, and one that asks for gradients."""
_REPEATS = {"small": 1, "full": 2, "large": 2}
"""How many calls are drawn for each situation."""
_TRIES = 1000

Fields = dict[str, Any]


@dataclass
class Draw:
    """Draws calls.

    Arguments:
        generator: of everything.
        dtype: of the calls.
        size: how long they are.
        options: what the subject takes; None: everything.
        limits: the sizes that the subject takes.
        gradients: whether the calls ask for gradients.
    """

    generator: np.random.Generator
    dtype: str
    size: Size
    options: frozenset[str] | None
    limits: Limits
    gradients: bool = False

    @property
    def most_scores(self) -> int:
        """How many scores a call may have."""
        return (_GRADIENT_SCORES if self.gradients else _SCORES)[self.size]

    def one(self, *names: Any) -> Any:
        """Return one of several things."""
        return names[int(self.generator.integers(len(names)))]

    def all(self, situations: Situations) -> Iterator[Scenario]:
        """Return a call for each situation, again and again until it fits; none where the subject lacks an option."""
        left: set[int] | None = None
        for _ in range(_TRIES):
            drawn = {place: self._scenario(fields) for place, fields in enumerate(situations(self))}
            left = set(drawn) if left is None else left
            for place in sorted(left):
                if not self._offers(drawn[place]):
                    left.remove(place)
                elif self._fits(drawn[place]):
                    left.remove(place)
                    yield drawn[place]
            if not left:
                return
        if self.gradients and not self.limits.cross:
            return  # as many queries as the longest keys are too many to differentiate
        raise AssertionError(f"situations {left} of {situations.__name__} never fit")

    def _scenario(self, fields: Fields) -> Scenario:
        limits, head_sizes = self.limits, self.limits.head_sizes or _HEAD_SIZES[self.size]
        head_size = self.one(*head_sizes)
        value_size = self.one(head_size, head_size, self.one(*head_sizes))
        drawn = {"batch": 1, "head_size": head_size, "value_size": value_size, **fields}
        if self.gradients:
            drawn |= {"gradients": True, "returns": ()}
        drawn |= {} if limits.value_size else {"value_size": head_size}
        drawn |= {} if limits.cross else {"queries": drawn["keys"], "offsets": ()}
        if "heads" not in drawn:
            each = drawn["batch"] * drawn["queries"] * drawn["keys"]
            drawn["heads"], drawn["groups"] = self.one(
                (1, 1), *(pair for pair in _HEADS if pair[0] * each <= self.most_scores)
            )
        drawn |= {} if limits.grouped else {"groups": drawn["heads"]}
        return Scenario(self.dtype, **drawn)

    def _offers(self, scenario: Scenario) -> bool:
        return self.options is None or scenario.options <= self.options

    def _fits(self, scenario: Scenario) -> bool:
        is_small = scenario.scores <= self.most_scores
        return scenario.is_valid and (is_small or (scenario.heads == 1 and not self.gradients))


Situations = Callable[[Draw], Iterator[Fields]]


def draw(
    seed: int,
    options: frozenset[str] | None,
    dtypes: Sequence[str],
    size: Size,
    limits: Limits = ANY,
    *,
    gradients: bool = False,
) -> list[Scenario]:
    """Draw the calls of a seed: only options that a subject has, and sizes that it takes.

    Of calls that ask for gradients every situation is drawn once.
    """
    stream, repeats = (5, 1) if gradients else (2, _REPEATS[size])
    found: dict[str, Scenario] = {}
    for place, dtype in enumerate(dtypes):
        drawing = Draw(np.random.default_rng([seed, stream, place]), dtype, size, options, limits, gradients)
        for situations in _SITUATIONS * repeats:
            found |= {scenario.id: scenario for scenario in drawing.all(situations)}
    return list(found.values())


def _lengths(d: Draw) -> Iterator[Fields]:
    """Every edge as the number of keys, and as the number of queries; every number of heads."""
    for edge in _EDGES[d.size]:
        yield {"keys": edge, "queries": d.one(edge, 1, *_SHORT)}
        if edge <= _LONG[-1]:
            yield {"queries": edge, "keys": d.one(*_SHORT, *_LONG)}
    for heads, groups in _HEADS[2:]:
        yield {"queries": d.one(*_SHORT), "keys": d.one(*_SHORT), "heads": heads, "groups": groups}


def _between(d: Draw) -> Fields:
    """Lengths below and above the tiles that kernels have."""
    return {"queries": d.one(*_SHORT, *_LONG), "keys": d.one(*_SHORT, *_LONG)}


def _tall(d: Draw) -> Fields:
    """Several tiles of queries and of keys."""
    return {"queries": d.one(*_LONG), "keys": d.one(*_LONG)}


def _square(d: Draw) -> Fields:
    length = d.one(*_LONG)
    return {"queries": length, "keys": length}


def _options(d: Draw) -> Iterator[Fields]:
    """Every option alone, on several tiles, and on lengths around an edge."""
    yield {**_square(d), "causal": True}
    yield {**_between(d), "causal": True}
    yield {**_tall(d), "causal": True}
    for kind in ("random", "late"):
        for axes in ("bhqk", "b1qk", "qk"):
            yield {**_between(d), "mask": f"{kind}.{axes}", "batch": d.one(1, 2)}
    yield {**_tall(d), "mask": f"late.{d.one('bhqk', '11qk')}"}
    for text in ("normal.bhqk", "normal.1hqk", "normal.qk", "holes.bhqk", "holes.1h1k"):
        yield {**_between(d), "bias": text}
    yield {**_tall(d), "bias": d.one("normal.1hqk", "normal.bhqk")}
    for window in (_narrow, _wide):
        yield {**_square(d), "window": (window(d), window(d))}
        yield {**_square(d), "window": d.one((window(d), None), (window(d), 0))}
        yield {**_square(d), "window": d.one((None, window(d)), (0, window(d)))}
    yield _ragged({**_between(d), "batch": 2}, d)
    yield _ragged({**_tall(d), "batch": 2}, d)
    yield _ragged({**_tall(d), "batch": 2, "distribution": "padding"}, d)
    yield {**_between(d), "scale": d.one(0.25, 0.0625, 1.0, -0.125)}
    yield {**_tall(d), "scale": d.one(0.25, 0.0625)}
    yield {**_between(d), "softcap": d.one(2.0, 15.0, 50.0)}
    yield {**_tall(d), "softcap": d.one(2.0, 5.0), "distribution": d.one("normal", "large")}
    yield {**_between(d), "sinks": True}
    yield {**_tall(d), "sinks": True}
    yield {**_between(d), "dropout": d.one(0.1, 0.5)}
    yield {**_tall(d), "dropout": d.one(0.1, 0.5)}
    for result in RETURNS:
        yield {**_between(d), "returns": (result,)}
        yield {**_square(d), "causal": True, "returns": (result,)}


def _pairs(d: Draw) -> Iterator[Fields]:
    """The pairs of options that interact."""
    yield {**_shifted(d), "causal": True}
    yield {**_shifted(d), "causal": True, "batch": 2}
    yield {**_square(d), "causal": True, "window": (d.one(_narrow, _wide)(d), None)}
    yield {**_shifted(d), "causal": True, "window": (_narrow(d), d.one(None, 0))}
    yield {**_shifted(d), "window": (_wide(d), _narrow(d))}
    yield _ragged({**_square(d), "batch": 2, "causal": True}, d)
    yield _padded({**_square(d), "batch": 2, "causal": True, "distribution": "padding"}, d)
    yield _padded({**_shifted(d), "batch": 2, "causal": True, "window": (_narrow(d), None)}, d)
    yield _ragged({**_tall(d), "batch": 2, "mask": d.one("random.bhqk", "late.qk")}, d)
    yield {**_square(d), "causal": True, "mask": d.one("random.b1qk", "late.bhqk")}
    yield {**_square(d), "causal": True, "bias": d.one("normal.1hqk", "holes.bhqk")}
    yield {**_between(d), "mask": "random.bhqk", "bias": "normal.1hqk"}
    yield {**_between(d), "softcap": 3.0, "bias": "normal.bhqk"}
    yield {**_between(d), "softcap": 3.0, "scale": 0.25, "mask": "random.qk"}
    yield {**_square(d), "sinks": True, "causal": True}
    yield {**_square(d), "sinks": True, "window": (_narrow(d), 0), "causal": True}
    yield _ragged({**_between(d), "batch": 2, "sinks": True, "softcap": 5.0}, d)
    yield {**_between(d), "dropout": 0.25, "mask": "random.bhqk"}
    yield {**_between(d), "dropout": 0.25, "sinks": True, "returns": ("weights",)}
    yield {**_between(d), "sinks": True, "returns": ("log_sum_exp",)}
    yield _ragged({**_between(d), "batch": 2, "softcap": 5.0, "returns": ("log_sum_exp",)}, d)


def _caches(d: Draw) -> Iterator[Fields]:
    """Few queries after a long cache, and chunks of a prompt."""
    for keys in _CACHES[d.size]:
        yield {"queries": d.one(1, 7), "keys": keys}
        yield _padded({"queries": d.one(1, 7, 17), "keys": keys, "batch": 2, "causal": True}, d)
        yield {**_chunk(d, keys), "causal": True}
    yield _ragged({"queries": 1, "keys": d.one(*_CACHES[d.size]), "batch": 2}, d)


def _distributions(d: Draw) -> Iterator[Fields]:
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


_SITUATIONS: tuple[Situations, ...] = (_lengths, _options, _pairs, _caches, _distributions)


def _narrow(d: Draw) -> int:
    return d.one(3, 15, 16, 17, 31, 32, 40)


def _wide(d: Draw) -> int:
    return d.one(63, 64, 65, 100, 127, 128, 129, 150)


def _shifted(d: Draw) -> Fields:
    """Queries that stand somewhere behind the first key, before the end."""
    sizes = {"queries": d.one(*_SHORT), "keys": d.one(*_LONG)}
    most = sizes["keys"] - sizes["queries"]
    return {**sizes, "offsets": (d.one(most, d.one(1, 5, 64, 65), int(d.generator.integers(1, most + 1))),)}


def _chunk(d: Draw, keys: int) -> Fields:
    """A chunk of a prompt in every batch row, at places of their own."""
    queries = d.one(64, 65, 100, 128)
    offsets = d.generator.integers(1, keys - queries + 1, 2)
    return {"queries": queries, "keys": keys, "batch": 2, "offsets": tuple(map(int, offsets))}


def _ragged(fields: Fields, d: Draw) -> Fields:
    """Key lengths that end within, at and after edges of tiles."""
    edges = [n for n in (1, 33, *_SHORT, 191, 192, 193, *_LONG, 512, 513, 1000) if n <= fields["keys"]]
    lengths = tuple(d.one(*edges, fields["keys"]) for _ in range(fields["batch"]))
    return {**fields, "lengths": lengths}


def _padded(fields: Fields, d: Draw) -> Fields:
    """Key lengths, and queries that are the last of them."""
    lengths = _ragged(fields, d)["lengths"]
    offsets = tuple(max(length - fields["queries"], 0) for length in lengths)
    return {**fields, "lengths": lengths, "offsets": offsets if any(offsets) else (0,) * fields["batch"]}
