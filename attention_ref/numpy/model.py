"""The Transformer: embeddings, stacks of blocks and a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy import positions as codes
from attention_ref.numpy import primitives
from attention_ref.numpy._arrays import Array, inspect
from attention_ref.numpy._more_keys import length_after
from attention_ref.numpy.block import Block, BlockCache
from attention_ref.numpy.caches import static_cache
from attention_ref.numpy.embedding import Embedding
from attention_ref.numpy.head import Head, last_place
from attention_ref.spec.architecture import ModelConfig, StackConfig
from attention_ref.spec.layer_checks import check_has_stack, check_model, check_stack
from attention_ref.spec.parameters import check_arrays, check_part, under
from attention_ref.spec.shapes import check_implementation
from attention_ref.spec.state_checks import check_selection, check_stack_cache
from attention_ref.spec.taps import Tap, report, scoped

StackCache = tuple[BlockCache, ...]


class Stack:
    """An embedding, a sequence of blocks and a final normalisation.

    Arguments:
        config: sizes and options.
        parameters: those of `Embedding` under `embedding`, of each `Block` under `blocks.0` and so on, and, if
            configured, `relative_bias (buckets,h)`, `norm.gain (m)`, `norm.bias (m)`.
        implementation: the path of all attention inside, as in `attention`.

    Example:
        >>> config = spec.ModelConfig.decoder(vocab=5, model=8, heads=2, layers=1, feedforward=16)
        >>> stack = Transformer(config, weights.init(config)).decoder
        >>> stack(np.array([[1, 2, 3]])).shape
        (1, 3, 8)
    """

    def __init__(self, config: StackConfig, parameters: Mapping[str, Array], *, implementation: str = "auto") -> None:
        check_implementation("Stack", implementation)
        check_part("Stack", StackConfig, config, parameters)
        self.config = config
        self.parameters = dict(parameters)
        self.embedding = Embedding(config.embedding, under(parameters, "embedding"))
        path = {"implementation": implementation}
        self.blocks = [Block(block, under(parameters, f"blocks.{i}"), **path) for i, block in enumerate(config.blocks)]

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
            source: the input of the embedding.
            memory: `(b,k,m)`, the input of cross-attention; None when `cache` contains its keys and values.
            mask: the mask of the self-attention, boolean, broadcasts to `(b,h,q,k)`.
            lengths: how many positions of each batch row are not padding, integers `(b,)`; all when None.
            positions: integers `(l,)` or `(b,l)`; counted from the length of the cache when None.
            types: token types, integers `(b,l)`.
            memory_mask, memory_lengths: of the cross-attention, as in `Block`.
            cache: the cache that an earlier call returned.
            return_cache: also return the cache.
            tap: receives everything under `embedding`, `blocks.0` and so on, and `norm`.

        Returns:
            `(b,l,m)`, or a tuple of it and the cache if requested.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        check_stack(self.config, cache, return_cache, tap)
        offsets = cache[0].self_attention.lengths if cache is not None else 0
        places = {"positions": positions, "types": types, "lengths": lengths, "offsets": offsets}
        array = self.embedding(source, **places, tap=scoped(tap, "embedding"))  # (b,l,m)
        bias = self._bias(array, cache, offsets)  # (h,l,k) or (b,h,l,k)
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
            array = report(tap, "norm", primitives.normalize(array, self.config.norm, self.parameters, "norm"))
        return (array, tuple(caches)) if return_cache else array

    def _bias(self, array: Array, cache: StackCache | None, offsets: Any) -> Array | None:
        """Return the relative bias that all blocks share, if configured."""
        if self.config.relative_bias is None:
            return None
        length = array.shape[1]
        keys = length_after(None if cache is None else cache[0].self_attention, length)
        table = self.parameters["relative_bias"]
        return codes.relative_bias(table, length, keys, self.config.relative_bias, query_offset=offsets)


class Transformer:
    """A Transformer: an encoder, a decoder, or both, and a head.

    Arguments:
        config: the whole model.
        parameters: the tree of `attention_ref.spec.parameters`: those of `Stack` under `encoder` and `decoder`, of
            `Head` under `head`.
        implementation: the path of all attention inside, as in `attention`.

    Raises:
        SpecificationError: for parameters that do not match the configuration, and for an unknown implementation.

    Example:
        >>> config = spec.ModelConfig.decoder(vocab=5, model=8, heads=2, layers=1, feedforward=16)
        >>> model = Transformer(config, weights.init(config))
        >>> model(np.array([[1, 2, 3]])).shape
        (1, 3, 5)
    """

    def __init__(self, config: ModelConfig, parameters: Mapping[str, Any], *, implementation: str = "auto") -> None:
        check_implementation("Transformer", implementation)
        check_arrays("Transformer", config, parameters)
        self.config = config
        self.parameters = dict(parameters)
        self.encoder = self._stack(config.encoder_stack, "encoder", implementation)
        self.decoder = self._stack(config.decoder_stack, "decoder", implementation)
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
            source: the input of the encoder, or of the decoder of a model without encoder, as in `Embedding`.
            target: the input of the decoder of an encoder-decoder, tokens `(b,t)`.
            lengths: how many positions of the source are not padding in each batch row, integers `(b,)`; all when None.
            target_lengths: the same for the target.
            mask: the mask of the self-attention over the source, boolean, broadcasts to `(b,h,q,k)`.
            types, positions: of the source, as in `Embedding`.
            tap: receives everything under `encoder`, `decoder` and `head`.

        Returns:
            The output of the head; without a head, that of the last stack, `(b,l,m)`.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        check_model(self.config, target, target_lengths, tap)
        options = {"lengths": lengths, "mask": mask, "types": types, "positions": positions}
        if self.decoder is None:
            return self.read(self.encode(source, **options, tap=tap), lengths=lengths, tap=tap)
        if self.encoder is None:
            return self.read(self.decode(source, **options, tap=tap), lengths=lengths, tap=tap)
        memory = self.encode(source, **options, tap=tap)  # (b,l,m)
        result = self.decode(target, memory, lengths=target_lengths, memory_lengths=lengths, tap=tap)  # (b,t,m)
        return self.read(result, lengths=target_lengths, tap=tap)

    def encode(self, source: Any, *, tap: Tap | None = None, **options: Any) -> Array:
        """Apply the encoder; `options` as in a call of `Stack`."""
        check_has_stack(self.config, "encoder")
        return self.encoder(source, tap=scoped(tap, "encoder"), **options)

    def decode(self, target: Any, memory: Array | None = None, *, tap: Tap | None = None, **options: Any) -> Any:
        """Apply the decoder; `options` as in a call of `Stack`, including the cache."""
        check_has_stack(self.config, "decoder")
        return self.decoder(target, memory, tap=scoped(tap, "decoder"), **options)

    def read(self, array: Array, *, lengths: Any = None, tap: Tap | None = None) -> Array:
        """Apply the head, if the model has one; `lengths` as in a call of `Head`."""
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
        """Append tokens to a cache and return the scores of the next token: one step of decoding.

        Arguments:
            tokens: integers `(b,t)`.
            memory, memory_lengths: the output of `encode` and the lengths of its source, for the first step of an
                encoder-decoder.
            lengths: how many of the t tokens of each batch row are not padding; all when None.
            cache: the cache that the previous step returned; None in the first.

        Returns:
            The scores `(b,n)` of the token after the last one of each row, NumPy float64, and the cache.
        """
        array, cache = self.decode(
            tokens, memory, lengths=lengths, memory_lengths=memory_lengths, cache=cache, return_cache=True
        )
        array = last_place(array, lengths)[:, None]  # (b,1,m)
        return self.read(array)[:, 0].astype(np.float64), cache

    def static_cache(self, cache: StackCache, length: int) -> StackCache:
        """Return a copy of a cache with room for `length` tokens, which steps fill; see `static_cache`."""
        check_stack_cache("Transformer.static_cache", cache)
        return tuple(block._replace(self_attention=static_cache(block.self_attention, length)) for block in cache)

    def select(self, cache: StackCache, rows: Any) -> StackCache:
        """Return the cache of the given batch rows, in which a row may be repeated."""
        check_selection(cache, rows, inspect)

        def picked(part: Any) -> Any:
            return None if part is None else type(part)(*(array[np.asarray(rows)] for array in part))

        return tuple(BlockCache(*(picked(part) for part in block)) for block in cache)

    def _stack(self, config: StackConfig | None, name: str, implementation: str) -> Stack | None:
        if config is None:
            return None
        parameters = under(self.parameters, name)
        if name == "decoder" and self.config.shared_embedding:
            parameters["embedding.token"] = self.parameters["encoder.embedding.token"]
        return Stack(config, parameters, implementation=implementation)
