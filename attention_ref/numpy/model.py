"""The Transformer: stacks of blocks between embeddings and a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy import positions as codes
from attention_ref.numpy import primitives
from attention_ref.numpy._arrays import Array
from attention_ref.numpy.block import Block, BlockCache
from attention_ref.numpy.embedding import Embedding
from attention_ref.numpy.head import Head, last_place
from attention_ref.numpy.multihead import Cache
from attention_ref.spec.architecture import ModelConfig, StackConfig
from attention_ref.spec.layer_checks import check_has_stack, check_model, check_stack
from attention_ref.spec.parameters import check_arrays, under
from attention_ref.spec.taps import Tap, scoped, told

StackCache = tuple[BlockCache, ...]


class Stack:
    """An embedding, blocks one after another, and a normalisation.

    Arguments:
        config: sizes and options.
        parameters: those of `Embedding` under `embedding`, of each `Block` under `blocks.0` and so on, and where
            configured `relative_bias (buckets,h)`, `norm.gain (m)`, `norm.bias (m)`.
    """

    def __init__(self, config: StackConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.parameters = dict(parameters)
        self.embedding = Embedding(config.embedding, under(parameters, "embedding"))
        self.blocks = [Block(block, under(parameters, f"blocks.{i}")) for i, block in enumerate(config.blocks)]

    def __call__(
        self,
        source: Any,
        memory: Array | None = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        positions: Any = None,
        types: Any = None,
        memory_mask: Any = None,
        memory_lengths: Any = None,
        cache: StackCache | None = None,
        return_cache: bool = False,
        tap: Tap | None = None,
    ) -> Any:
        """Apply the stack.

        Arguments:
            source: what the embedding takes.
            memory: `(b,k,m)`, what cross-attention attends to; None when `cache` holds it.
            mask: boolean, broadcasts to `(b,h,q,k)`, of the self-attention.
            lengths: how many places are real in each batch row, integers `(b,)`; all when None.
            positions: integers `(l,)` or `(b,l)`; from the cache's length on when None.
            types: token types, integers `(b,l)`.
            memory_mask, memory_lengths: those of the cross-attention.
            cache: what an earlier call gave back.
            return_cache: return a cache too.
            tap: is told of everything under `embedding`, `blocks.0` and so on, and of `norm`.

        Returns:
            `(b,l,m)`, followed by the cache where asked for.

        Raises:
            SpecificationError: for what does not fit the configuration or together.
        """
        check_stack(self.config, cache, positions)
        offsets = cache[0].self_attention.lengths if cache is not None else 0
        places = {"positions": positions, "types": types, "lengths": lengths, "offsets": offsets}
        array = self.embedding(source, **places, tap=scoped(tap, "embedding"))
        bias = self._bias(array, cache, offsets)
        caches = []
        for i, block in enumerate(self.blocks):
            result = block(
                array,
                memory,
                mask=mask,
                bias=bias,
                key_lengths=lengths,
                positions=positions,
                memory_mask=memory_mask,
                memory_lengths=memory_lengths,
                cache=cache[i] if cache is not None else None,
                return_cache=return_cache,
                tap=scoped(tap, f"blocks.{i}"),
            )
            array, *block_cache = result if return_cache else (result,)
            caches += block_cache
        if self.config.norm is not None:
            array = told(tap, "norm", primitives.normalize(array, self.config.norm, self.parameters, "norm"))
        return (array, tuple(caches)) if return_cache else array

    def _bias(self, array: Array, cache: StackCache | None, offsets: Any) -> Array | None:
        """The bias of distance that all blocks share."""
        if self.config.relative_bias is None:
            return None
        length = array.shape[1]
        past = cache[0].self_attention.key.shape[2] if cache is not None else 0
        table = self.parameters["relative_bias"]
        return codes.relative_bias(table, length, past + length, self.config.relative_bias, query_offset=offsets)


class Transformer:
    """A Transformer: an encoder, a decoder, or both, and a head.

    Arguments:
        config: the whole model.
        parameters: the tree of `attention_ref.spec.parameters`: those of `Stack` under `encoder` and `decoder`, of
            `Head` under `head`.

    Raises:
        SpecificationError: for parameters that are not those of the configuration.
    """

    def __init__(self, config: ModelConfig, parameters: Mapping[str, Any]) -> None:
        check_arrays("Transformer", config, parameters)
        self.config = config
        self.parameters = dict(parameters)
        self.encoder = self._stack(config.encoder_stack, "encoder")
        self.decoder = self._stack(config.decoder_stack, "decoder")
        self.head = None
        if config.head is not None:
            name = "decoder" if config.decoder_stack is not None and not config.shared_embedding else "encoder"
            token = self.parameters.get(f"{name}.embedding.token")
            self.head = Head(config.head, under(self.parameters, "head"), token)

    def __call__(
        self,
        source: Any,
        target: Any = None,
        *,
        lengths: Any = None,
        target_lengths: Any = None,
        mask: Any = None,
        types: Any = None,
        positions: Any = None,
        tap: Tap | None = None,
    ) -> Array:
        """Apply the whole model.

        Arguments:
            source: what the only stack reads, or the encoder: tokens `(b,l)`, an image, sound or vectors.
            target: what the decoder of an encoder-decoder reads, `(b,t)`.
            lengths: how many places of the source are real in each batch row, integers `(b,)`; all when None.
            target_lengths: the same for the target.
            mask: boolean, broadcasts to `(b,h,q,k)`, of the self-attention over the source.
            types, positions: of the source, see `Embedding`.
            tap: is told of everything under `encoder`, `decoder` and `head`.

        Returns:
            What the head gives; without a head the last stack's `(b,l,m)`.

        Raises:
            SpecificationError: for what does not fit the configuration or together.
        """
        check_model(self.config, target, target_lengths)
        options = {"lengths": lengths, "mask": mask, "types": types, "positions": positions}
        if self.decoder is None:
            return self.read(self.encode(source, **options, tap=tap), lengths=lengths, tap=tap)
        if self.encoder is None:
            return self.read(self.decode(source, **options, tap=tap), lengths=lengths, tap=tap)
        memory = self.encode(source, **options, tap=tap)
        result = self.decode(target, memory, lengths=target_lengths, memory_lengths=lengths, tap=tap)
        return self.read(result, lengths=target_lengths, tap=tap)

    def encode(self, source: Any, *, tap: Tap | None = None, **options: Any) -> Array:
        """Apply the encoder; `options` as in `Stack`."""
        check_has_stack(self.config, "encoder")
        return self.encoder(source, tap=scoped(tap, "encoder"), **options)

    def decode(self, target: Any, memory: Array | None = None, *, tap: Tap | None = None, **options: Any) -> Any:
        """Apply the decoder; `options` as in `Stack`, the cache among them."""
        check_has_stack(self.config, "decoder")
        return self.decoder(target, memory, tap=scoped(tap, "decoder"), **options)

    def read(self, array: Array, *, lengths: Any = None, tap: Tap | None = None) -> Array:
        """Apply the head, where there is one; `lengths` are those of the places of `array`."""
        return array if self.head is None else self.head(array, lengths=lengths, tap=scoped(tap, "head"))

    def step(
        self,
        tokens: Any,
        memory: Array | None = None,
        *,
        lengths: Any = None,
        memory_lengths: Any = None,
        cache: StackCache | None = None,
    ) -> tuple[Array, StackCache]:
        """Read tokens behind a cache and score the next one, as decoding needs it.

        Arguments:
            tokens: integers `(b,t)`.
            memory, memory_lengths: what `encode` gave, for the first step of an encoder-decoder.
            lengths: how many of the t tokens are real in each batch row; all when None.
            cache: what the step before gave back.

        Returns:
            The scores `(b,n)` of the token behind the last real one, NumPy float64, and the cache.
        """
        tokens = np.asarray(tokens)
        array, cache = self.decode(
            tokens, memory, lengths=lengths, memory_lengths=memory_lengths, cache=cache, return_cache=True
        )
        array = last_place(array, lengths)[:, None]  # (b,1,m)
        return self.read(array)[:, 0].astype(np.float64), cache

    def select(self, cache: StackCache, rows: Any) -> StackCache:
        """Pick batch rows of a cache, any row any number of times."""

        def picked(part: Cache | None) -> Cache | None:
            return None if part is None else Cache(*(array[np.asarray(rows)] for array in part))

        return tuple(BlockCache(*(picked(part) for part in block)) for block in cache)

    def _stack(self, config: StackConfig | None, name: str) -> Stack | None:
        if config is None:
            return None
        parameters = under(self.parameters, name)
        if name == "decoder" and self.config.shared_embedding:
            parameters["embedding.token"] = self.parameters["encoder.embedding.token"]
        return Stack(config, parameters)
