"""Deviations of cross-attention in a block: which part of the memory is seen, and from where."""

from __future__ import annotations

from typing import Any

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import BlockConfig


class MemoryPaddingSeen(Deviation):
    """Cross-attention attends to the padding of the memory."""

    slug = "memory.padding-seen"
    clause = "block.memory-rules"
    correction = "hide the memory's positions j >= memory_lengths[b]"

    def memory_rules(self, mask: Any, lengths: Any, own_mask: Any) -> dict[str, Any]:
        return super().memory_rules(mask, None, own_mask)


class MemoryMaskIgnored(Deviation):
    """The mask of the memory is ignored."""

    slug = "memory.mask-ignored"
    clause = "block.memory-rules"
    correction = "pass memory_mask to the cross-attention"

    def memory_rules(self, mask: Any, lengths: Any, own_mask: Any) -> dict[str, Any]:
        return super().memory_rules(None, lengths, own_mask)


class MemoryMaskOfInput(Deviation):
    """The mask of the self-attention applies to the memory too."""

    slug = "memory.mask-of-input"
    clause = "block.memory-rules"
    correction = "the memory has a mask of its own, memory_mask"

    def memory_rules(self, mask: Any, lengths: Any, own_mask: Any) -> dict[str, Any]:
        return super().memory_rules(own_mask if mask is None else mask, lengths, own_mask)


class MemoryNormalised(Deviation):
    """The memory is normalised by the norm of cross-attention, as its queries are."""

    slug = "memory.normalised"
    clause = "block.cross"
    correction = "normalise the input of the block alone; the encoder has normalised the memory"

    def block(
        self, config: BlockConfig, parameters: Parameters, array: Array, memory: Array | None = None, **options: Any
    ) -> Array:
        has_norm = "cross_attention_norm.gain" in parameters or not config.norm.gain
        if memory is not None and has_norm and memory.shape[-1] == config.model and config.order != "post":
            memory = self.block_norm(memory, config, parameters, "cross_attention_norm")
        return super().block(config, parameters, array, memory, **options)


class CrossOffsetIgnored(Deviation):
    """The queries of cross-attention begin at position 0 in every call: the length of the cache is ignored."""

    slug = "cross-attention.offset-ignored"
    clause = "block.memory-positions"
    correction = "count the queries of cross-attention from the length of the cache, as those of self-attention"

    def causal_offset(self, query_offset: Any) -> Any:
        return self.first_offset() if self.is_cross else super().causal_offset(query_offset)

    def window_offset(self, query_offset: Any) -> Any:
        return self.first_offset() if self.is_cross else super().window_offset(query_offset)

    def places(self, *arguments: Any) -> Any:
        places, keys = super().places(*arguments)
        return places - self.chunk_starts if self.is_cross and self.chunk_starts is not None else places, keys

    def bias_distance(self, *arguments: Any) -> Array:
        distance = super().bias_distance(*arguments)
        is_ignored = self.is_cross and self.chunk_starts is not None
        return distance + self.chunk_starts[:, :, None] if is_ignored and self.chunk_starts is not None else distance


MEMORY: tuple[type[Deviation], ...] = (
    MemoryPaddingSeen, MemoryMaskIgnored, MemoryMaskOfInput, MemoryNormalised, CrossOffsetIgnored,
)  # fmt: skip
