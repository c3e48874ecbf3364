"""A small model of a family of released models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Family:
    """A small model of a family.

    Arguments:
        name: of the test.
        model: the class in `transformers`.
        options: of its configuration, away from the defaults.
        inputs: what the model reads: `tokens`, `segments` (tokens and types), `pair` (source and target),
            `classified` (the source, with the target made of it), `image`, `sound`.
        output: which of the results is compared.
        padding: whether answers at padding are those of other places too.
        known: how much the other library's own constants are off, relative to the largest output.
        untied: modules whose weight is made a tensor of its own, as loading a file that has it does.
        attention: the implementation of attention in `transformers`.
        varied: keys, and the values among which random configurations choose.
    """

    name: str
    model: str
    options: Mapping[str, Any]
    inputs: str = "tokens"
    output: str = "logits"
    padding: bool = True
    known: float = 0.0
    untied: tuple[str, ...] = ()
    attention: str = "eager"
    varied: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def varying(self, seed: int) -> Family:
        """The same family with a random choice of every varied key."""
        generator = np.random.default_rng(seed)
        chosen = {name: values[generator.integers(len(values))] for name, values in self.varied.items()}
        merged = {key: value for each in ({}, *map(_flat, chosen.items())) for key, value in each.items()}
        return replace(self, name=f"{self.name}-{seed}", options={**self.options, **merged})


def _flat(item: tuple[str, Any]) -> dict[str, Any]:
    """A varied key; `sizes` and other keys that are none choose several at once."""
    name, value = item
    return value if name.startswith("*") else {name: value}
