"""The Transformer: embeddings, stacks of blocks and a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attention_ref.spec import positions as codes
from attention_ref.spec import primitives
from attention_ref.spec.architecture import ModelConfig, StackConfig
from attention_ref.spec.arrays import Array, as_array
from attention_ref.spec.block import Block, BlockCache
from attention_ref.spec.embedding import Embedding
from attention_ref.spec.head import Head
from attention_ref.spec.layer_checks import check_has_stack, check_model, check_stack
from attention_ref.spec.parameters import under
from attention_ref.spec.taps import Tap, report, scoped

StackCache = tuple[BlockCache, ...]


class Stack:
    """An embedding, a sequence of blocks and a final normalisation.

    Arguments:
        config: sizes and options.
        parameters: those of `Embedding` under `embedding`, of each `Block` under `blocks.0` and so on, and, if
            configured, `relative_bias (buckets,h)`, `norm.gain (m)`, `norm.bias (m)`.
    """

    def __init__(self, config: StackConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.parameters = parameters
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
        check_stack(self.config, cache)
        offsets = cache[0].self_attention.lengths if cache is not None else 0
        places = {"positions": positions, "types": types, "lengths": lengths, "offsets": offsets}
        array = self.embedding(source, **places, tap=scoped(tap, "embedding"))  # (b,l,m)
        bias = self._bias(array.shape[1], cache, offsets)  # (h,l,k) or (b,h,l,k)
        caches = []
        for i, block in enumerate(self.blocks):
            array, block_cache = block(
                array,
                memory,
                mask=mask,
                bias=bias,
                key_lengths=lengths,
                positions=positions,
                memory_mask=memory_mask,
                memory_lengths=memory_lengths,
                cache=cache[i] if cache is not None else None,
                return_cache=True,
                tap=scoped(tap, f"blocks.{i}"),
            )
            caches.append(block_cache)
        if self.config.norm is not None:
            array = report(tap, "norm", primitives.normalize(array, self.config.norm, self.parameters, "norm"))
        return (array, tuple(caches)) if return_cache else array

    def _bias(self, length: int, cache: StackCache | None, offsets: Any) -> Array | None:
        """Return the relative bias that all blocks share, if configured."""
        if self.config.relative_bias is None:
            return None
        past = cache[0].self_attention.key.shape[2] if cache is not None else 0
        table = self.parameters["relative_bias"]
        return codes.relative_bias(table, length, past + length, self.config.relative_bias, query_offset=offsets)


class Transformer:
    """A Transformer: an encoder, a decoder, or both, and a head.

    Arguments:
        config: the whole model.
        parameters: the tree of `attention_ref.spec.parameters`: those of `Stack` under `encoder` and `decoder`, of
            `Head` under `head`.

    Source: Vaswani et al. (2017), section 3.

    How others differ: `torch.nn.Transformer` has no embeddings and no head, and ends both stacks with a norm in
    post-norm order too.

    Example:
        >>> config = ModelConfig.decoder(vocab=5, model=8, heads=2, layers=1, feedforward=16)
        >>> parameters = {name: as_array(array.tolist()) for name, array in weights.init(config).items()}
        >>> model = Transformer(config, parameters)
        >>> model(as_array([[1, 2, 3]])).shape
        (1, 3, 5)
    """

    def __init__(self, config: ModelConfig, parameters: Mapping[str, Any]) -> None:
        self.config = config
        self.parameters = {name: as_array(array) for name, array in parameters.items()}
        self.encoder: Any = self._stack(config.encoder_stack, "encoder")
        self.decoder: Any = self._stack(config.decoder_stack, "decoder")
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
        check_model(self.config, target, target_lengths)
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

    def _stack(self, config: StackConfig | None, name: str) -> Stack | None:
        if config is None:
            return None
        parameters = under(self.parameters, name)
        if name == "decoder" and self.config.shared_embedding:
            parameters["embedding.token"] = self.parameters["encoder.embedding.token"]
        return Stack(config, parameters)
