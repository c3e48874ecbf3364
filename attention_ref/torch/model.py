"""The Transformer: embeddings, stacks of blocks and a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from attention_ref.spec.architecture import ModelConfig, StackConfig
from attention_ref.spec.layer_checks import check_has_stack, check_model, check_stack
from attention_ref.spec.parameters import check_part, under
from attention_ref.spec.shapes import check_implementation
from attention_ref.spec.state_checks import check_selection, check_stack_cache
from attention_ref.spec.taps import Tap, report, scoped
from attention_ref.torch import positions as codes
from attention_ref.torch._arrays import Array, as_array, inspect
from attention_ref.torch._more_keys import length_after
from attention_ref.torch._parameters import init_or_check, normalization, register
from attention_ref.torch.block import Block, BlockCache
from attention_ref.torch.caches import static_cache
from attention_ref.torch.embedding import Embedding
from attention_ref.torch.head import Head, last_place

StackCache = tuple[BlockCache, ...]


class Stack(nn.Module):
    """An embedding, a sequence of blocks and a final normalisation.

    Arguments:
        config: sizes and options.
        parameters: those of `Embedding` under `embedding`, of each `Block` under `blocks.0` and so on, and, if
            configured, `relative_bias (buckets,h)`, `norm.gain (m)`, `norm.bias (m)`; initialised when None.
        owner: the embedding whose `token` table this stack shares; its own when None.
        implementation: the path of all attention inside, as in `attention`.

    Example:
        >>> config = spec.ModelConfig.decoder(vocab=5, model=8, heads=2, layers=1, feedforward=16)
        >>> stack = Transformer(config, weights.init(config)).decoder
        >>> tuple(stack(torch.tensor([[1, 2, 3]])).shape)
        (1, 3, 8)
    """

    def __init__(
        self,
        config: StackConfig,
        parameters: Mapping[str, Any] | None = None,
        owner: Embedding | None = None,
        *,
        implementation: str = "auto",
    ) -> None:
        super().__init__()
        check_implementation("Stack", implementation)
        check_part("Stack", StackConfig, config, parameters)
        if parameters is None:
            parameters = init_or_check("Stack", config, None)
        self.config = config
        self.embedding = Embedding(config.embedding, under(parameters, "embedding"), owner)
        register(self, parameters, "relative_bias")
        self.blocks = nn.ModuleList(
            Block(block, under(parameters, f"blocks.{i}"), implementation=implementation)
            for i, block in enumerate(config.blocks)
        )
        self.norm = normalization(config.norm, parameters, "norm")

    def forward(
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
        if self.norm is not None:
            array = report(tap, "norm", self.norm(array))
        return (array, tuple(caches)) if return_cache else array

    def _bias(self, array: Array, cache: StackCache | None, offsets: Any) -> Array | None:
        """Return the relative bias that all blocks share, if configured."""
        if self.config.relative_bias is None:
            return None
        length = array.shape[1]
        keys = length_after(None if cache is None else cache[0].self_attention, length)
        table = self.relative_bias.to(array.dtype)
        return codes.relative_bias(table, length, keys, self.config.relative_bias, query_offset=offsets)


class Transformer(nn.Module):
    """A Transformer: an encoder, a decoder, or both, and a head.

    `state_dict` has the names and shapes of the parameter tree; a tied or shared tensor appears once, under its first
    owner. Under autocast, products with parameters are computed in autocast's dtype; everything else keeps the dtype of
    the parameters.

    Arguments:
        config: the whole model.
        parameters: the tree of `attention_ref.spec.parameters`: those of `Stack` under `encoder` and `decoder`, of
            `Head` under `head`; NumPy arrays or tensors, copied in their dtype; initialised by
            `attention_ref.weights.init` when None.
        implementation: the path of all attention inside, as in `attention`.

    Raises:
        SpecificationError: for parameters that do not match the configuration, and for an unknown implementation.

    Example:
        >>> config = spec.ModelConfig.decoder(vocab=5, model=8, heads=2, layers=1, feedforward=16)
        >>> model = Transformer(config, weights.init(config))
        >>> tuple(model(torch.tensor([[1, 2, 3]])).shape)
        (1, 3, 5)
    """

    def __init__(
        self, config: ModelConfig, parameters: Mapping[str, Any] | None = None, *, implementation: str = "auto"
    ) -> None:
        super().__init__()
        check_implementation("Transformer", implementation)
        parameters = init_or_check("Transformer", config, parameters)
        self.config = config
        self.encoder = self._stack(config.encoder_stack, parameters, "encoder", implementation)
        self.decoder = self._stack(config.decoder_stack, parameters, "decoder", implementation)
        self.head = None
        if config.head is not None:
            last = self.encoder if self.decoder is None else self.decoder
            self.head = Head(config.head, under(parameters, "head"), last.embedding)

    def forward(
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

    @torch.no_grad()
    def step(
        self,
        tokens: Any,
        memory: Array | None = None,
        *,
        lengths: Any = None,
        memory_lengths: Any = None,
        cache: StackCache | None = None,
    ) -> tuple[np.ndarray[Any, Any], StackCache]:
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
        return self.read(array)[:, 0].double().numpy(force=True), cache

    def static_cache(self, cache: StackCache, length: int) -> StackCache:
        """Return a copy of a cache with room for `length` tokens, which steps fill; see `static_cache`."""
        check_stack_cache("Transformer.static_cache", cache)
        return tuple(block._replace(self_attention=static_cache(block.self_attention, length)) for block in cache)

    def select(self, cache: StackCache, rows: Any) -> StackCache:
        """Return the cache of the given batch rows, in which a row may be repeated."""
        check_selection(cache, rows, inspect)

        def picked(part: Any) -> Any:
            return None if part is None else type(part)(*(array[as_array(rows, array.device)] for array in part))

        return tuple(BlockCache(*(picked(part) for part in block)) for block in cache)

    def _stack(
        self, config: StackConfig | None, parameters: Mapping[str, Any], name: str, implementation: str
    ) -> Stack | None:
        if config is None:
            return None
        is_shared = name == "decoder" and self.config.shared_embedding
        owner = self.encoder.embedding if is_shared else None
        return Stack(config, under(parameters, name), owner, implementation=implementation)
