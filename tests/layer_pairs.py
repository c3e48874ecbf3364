"""The pairs of options of a layer that act on the same step, each with a case of the vectors that has both.

    python -m tests.layer_pairs

prints the table. Two options that act on one step can stand in each other's way: a rule of visibility may replace
another one, a code of position may count from another place, a bias may be scaled. The steps are written down here; the
pairs, and the case of each, follow from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from attention_ref import vectors

Case = Mapping[str, Any]
Option = Callable[[Case], bool]


class Step(NamedTuple):
    """Options that act on the same step: any two of `options`, or one of them and one of `beside`, make a pair."""

    name: str
    options: tuple[str, ...]
    beside: tuple[str, ...] = ()

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return the pairs, each in alphabetical order."""
        found = itertools.product(self.options, self.beside) if self.beside else itertools.combinations(self.options, 2)
        yield from ((min(pair), max(pair)) for pair in found)


def given(*names: str) -> Option:
    """Return whether a case has an input or chunks of one of these names."""
    return lambda case: any(name in case["inputs"] or name in case for name in names)


def configured(path: str, *values: Any) -> Option:
    """Return whether a field of a case's configuration is set, or has one of these values."""

    def has(case: Case) -> bool:
        found = list(_fields(case["config"], path.split(".")))
        return any(item in values if values else item not in (None, False) for item in found)

    return has


def _fields(record: Any, path: list[str]) -> Iterator[Any]:
    """Return what stands at a path, in every block of a stack."""
    if not path:
        yield record
    elif isinstance(record, list):
        for item in record:
            yield from _fields(item, path)
    elif isinstance(record, Mapping) and path[0] in record:
        yield from _fields(record[path[0]], path[1:])


CODES = {"rotary": "rotary", "ALiBi": "alibi", "relative bias": "relative_bias"}
SCORES = {"scale": "scale", "softcap": "softcap", "sinks": "sinks", "query-key norm": "query_key_norm"}

OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "MultiHeadAttention": {
        **{name: configured(field) for name, field in {**CODES, **SCORES}.items()},
        "causal": configured("causal"),
        "window": configured("window"),
        "groups": configured("kv_heads"),
        "sizes": lambda case: case["config"].get("value_size") not in (None, case["config"].get("head_size")),
        "head size": configured("head_size"),
        "mask": given("mask"),
        "bias": given("bias"),
        "lengths": given("key_lengths", "chunks"),
        "positions": given("positions"),
        "query offset": given("query_offset"),
        "cross": given("key"),
        "cache": given("chunks"),
    },
    "Block": {
        "causal": configured("attention.causal"),
        "window": configured("attention.window"),
        **{f"memory {name}": configured(f"cross_attention.{field}") for name, field in CODES.items()},
        "memory causal": configured("cross_attention.causal"),
        "memory window": configured("cross_attention.window"),
        "memory groups": configured("cross_attention.kv_heads"),
        "memory": given("memory"),
        "memory mask": given("memory_mask"),
        "memory lengths": given("memory_lengths"),
        "mask": given("mask"),
        "bias": given("bias"),
        "lengths": given("key_lengths", "chunks"),
        "positions": given("positions"),
        "cache": given("chunks"),
        **{order: configured("order", order) for order in ("post", "pre", "sandwich", "parallel")},
    },
    "Transformer": {
        "sinusoid": configured("decoder_stack.embedding.positions.type", "Sinusoid"),
        "learned": configured("decoder_stack.embedding.positions.type", "Learned"),
        "shared relative bias": configured("decoder_stack.relative_bias"),
        "rotary": configured("decoder_stack.blocks.attention.rotary"),
        "ALiBi": configured("decoder_stack.blocks.attention.alibi"),
        "window": configured("decoder_stack.blocks.attention.window"),
        "mask": given("mask"),
        "types": given("types"),
        "lengths": given("lengths", "chunks"),
        "positions": given("positions"),
        "cache": given("chunks"),
    },
}

RULES = ("mask", "bias", "lengths", "causal", "window", "sinks")
PLACES = ("causal", "window", "rotary", "ALiBi", "relative bias")
CROSS_CODES = ("memory rotary", "memory ALiBi", "memory relative bias", "memory causal", "memory window")
STACK_CODES = ("sinusoid", "learned", "shared relative bias", "rotary", "ALiBi", "window")

STEPS: Mapping[str, tuple[Step, ...]] = {
    "MultiHeadAttention": (
        Step("visibility", (*RULES, "cross")),
        Step("place", (*PLACES, "cross")),
        Step("place of given positions", PLACES, ("positions", "query offset")),
        Step("scores", ("scale", "softcap", "bias", "ALiBi", "relative bias", "sinks", "query-key norm", "rotary")),
        Step("heads", ("groups", "head size"), ("ALiBi", "relative bias", "bias", "sinks", "query-key norm", "rotary")),
        Step("head sizes", ("sizes",), ("groups", "scale", "rotary")),
        # a mask, a bias, positions and another sequence are not given to calls behind a cache in the vectors
        Step("cache", (*PLACES, *SCORES, "groups", "head size"), ("cache",)),
    ),
    "Block": (
        Step("rules of both attentions", ("mask", "bias", "lengths", "positions", "causal", "window"), ("memory",)),
        Step("own rules beside the memory's", ("mask", "lengths", "causal"), ("memory mask", "memory lengths")),
        Step("rules of the memory", (*CROSS_CODES, "memory groups", "memory mask", "memory lengths")),
        Step("order", ("post", "pre", "sandwich"), ("memory", "causal")),
        Step("cache of an order", ("post", "pre", "sandwich", "parallel"), ("cache",)),
        Step("cache", (*CROSS_CODES, "memory mask", "memory lengths", "memory groups", "causal", "window"), ("cache",)),
    ),
    "Transformer": (
        Step("codes of a stack", STACK_CODES, ("lengths", "positions", "cache")),
        Step("inputs of a stack", ("mask", "types", "lengths", "positions")),
    ),
}


def pairs(operation: str) -> dict[tuple[str, str], str]:
    """Return every pair of an operation and the step that it meets in first."""
    found: dict[tuple[str, str], str] = {}
    for step in STEPS[operation]:
        for pair in step.pairs():
            found.setdefault(pair, step.name)
    return found


def table() -> Iterator[tuple[str, str, str, str, str]]:
    """Return operation, step, both options and the id of a case that has both, empty where there is none."""
    for operation, options in OPTIONS.items():
        cases = [case for profile in vectors.profiles(operation) for case in vectors.load(operation, profile)["cases"]]
        for (one, other), step in pairs(operation).items():
            covering = (case["id"] for case in cases if options[one](case) and options[other](case))
            yield operation, step, one, other, next(covering, "")


def main() -> int:
    """Print the table; exit 1 where a pair has no case."""
    rows = list(table())
    print("| layer | step | option | option | case |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 0 if all(case for *_, case in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
