"""Attention by blocks as a function of its numbers, whose gradients take memory for one block.

The weights of many blocks take memory for `(b,h,q,k)`; so if they are large, each block is computed again for its
gradients. On the TensorFlow engine a compiled call always does so, because XLA cannot compile that engine's gradient of
a conditional.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from attention_ref.keras._arrays import Array, values
from attention_ref.keras._blocks import Block, Hidden, Visibility, by_blocks, loops_of, part, starts_of

Numbers = dict[str, Array]
"""The arrays of a call that have gradients, by argument name."""

KEPT = 2**24
"""The largest number of scores whose weights are kept for the gradients; those of more are computed again."""


class ByBlocks:
    """Attention block by block.

    Arguments:
        attend: computes the results of a block from the numbers of the call.
        rules: the visible keys.
        blocks: the blocks of queries.
        loops: the number of loops into which a compiled call divides them.
    """

    def __init__(
        self,
        attend: Callable[[Numbers, Block, Hidden], list[Array]],
        rules: Visibility,
        blocks: list[Block],
        loops: int,
    ) -> None:
        self.attend, self.rules, self.blocks, self.loops = attend, rules, blocks, loops

    def __call__(self, numbers: Numbers, *, is_recomputed: bool = False) -> list[Array]:
        """Return the results, with each block computed again for its gradients if requested."""

        def attend(block: Block, hidden: Hidden) -> list[Array]:
            function = lambda numbers: self.attend(numbers, block, hidden)  # noqa: E731
            return keras.remat(function)(numbers) if is_recomputed else function(numbers)

        return by_blocks(attend, self.rules, self.blocks, numbers["query"], self.loops)

    def gradients(self, numbers: Numbers, cotangents: Sequence[Array]) -> list[Array]:
        """Return the gradients of all numbers on the TensorFlow engine, block by block."""
        totals = [ops.zeros_like(array) for array in numbers.values()]
        for loop in loops_of(self.rules, self.blocks, numbers["query"], self.loops):
            hidden = self.rules.hidden_in(loop)
            if len(loop) == 1:
                totals = self._add_gradients(totals, numbers, cotangents, loop[0], hidden)
                continue
            starts, (_, rows, _, width) = starts_of(loop), loop[0]

            def add(position: Array, totals: list[Array]) -> list[Array]:
                at = starts[position]  # noqa: B023 - the loop runs at once
                block = Block(at[0], rows, at[1], width)  # noqa: B023
                return self._add_gradients(totals, numbers, cotangents, block, hidden)  # noqa: B023

            totals = ops.fori_loop(0, len(loop), add, totals)
        return totals

    def _add_gradients(
        self, totals: list[Array], numbers: Numbers, cotangents: Sequence[Array], block: Block, hidden: Hidden
    ) -> list[Array]:
        """Add the gradients of one block."""
        watched = list(numbers.values())
        with sys.modules["tensorflow"].GradientTape() as tape:
            tape.watch(watched)
            results = self.attend(numbers, block, hidden)
        parts = [part(cotangent, 2, block.start, block.rows) for cotangent in cotangents]
        found = tape.gradient(results, watched, parts, unconnected_gradients="zero")
        return [total + ops.reshape(gradient, ops.shape(total)) for total, gradient in zip(totals, found, strict=True)]


def choose(is_first: Array, first: ByBlocks, second: ByBlocks, numbers: Numbers, scores: int) -> list[Array]:
    """Return the results of `first` if a condition holds, else those of `second`.

    Arguments:
        is_first: the condition, which may be unknown until a compiled function runs.
        first, second: what to compute.
        numbers: of the call.
        scores: how many scores the call has.
    """
    is_large, is_tensorflow = scores > KEPT and len(first.blocks) > 1, keras.config.backend() == "tensorflow"
    if not is_tensorflow or not (is_large or values(is_first) is None):
        return _either(is_first, lambda path: path(numbers, is_recomputed=is_large), first, second)

    @ops.custom_gradient
    def attend(*arrays: Array) -> tuple[list[Array], Callable[..., Any]]:
        given = dict(zip(numbers, arrays, strict=True))

        def gradients(*cotangents: Array) -> list[Array]:
            return _either(is_first, lambda path: path.gradients(given, cotangents), first, second)

        return _either(is_first, lambda path: path(given), first, second), gradients

    return attend(*numbers.values())


def _either(
    is_first: Array, compute: Callable[[ByBlocks], list[Array]], first: ByBlocks, second: ByBlocks
) -> list[Array]:
    found = values(is_first)
    if found is not None:
        return compute(first if found[0] else second)
    return ops.cond(is_first, lambda: compute(first), lambda: compute(second))


def number_of_scores(query: Array, key: Array) -> int:
    """Return how many scores `(b,h,q,d)` and `(b,g,k,d)` have; an unknown batch counts as one row."""
    return math.prod(size or 1 for size in query.shape[:3]) * key.shape[2]
