"""A Transformer block: sublayers with normalisations and residual connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from attention_ref.spec.config import BlockConfig, LatentAttentionConfig, MixtureConfig
from attention_ref.spec.layer_checks import check_block
from attention_ref.spec.parameters import under
from attention_ref.spec.shapes import check_implementation
from attention_ref.spec.taps import Tap, report, scoped
from attention_ref.torch import primitives
from attention_ref.torch._arrays import Array, inspect
from attention_ref.torch._parameters import init_or_check, normalization
from attention_ref.torch.caches import StaticCache, StaticLatentCache
from attention_ref.torch.experts import MixtureOfExperts
from attention_ref.torch.feedforward import FeedForward
from attention_ref.torch.latent import LatentAttention, LatentCache
from attention_ref.torch.multihead import Cache, MultiHeadAttention


class BlockCache(NamedTuple):
    """The cache of a block: one for its self-attention and one for its cross-attention.

    Example:
        >>> cache = BlockCache(Cache(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), torch.tensor([3])), None)
        >>> cache.self_attention.lengths.tolist()
        [3]
    """

    self_attention: Cache | LatentCache | StaticCache | StaticLatentCache
    cross_attention: Cache | None


class Block(nn.Module):
    """A Transformer block; see `BlockConfig` for the orders.

    In training, `config.dropout` is applied to the output of each sublayer.

    Arguments:
        config: sizes and options.
        parameters: those of `MultiHeadAttention` or `LatentAttention` under `self_attention` and, if configured, those
            of `MultiHeadAttention` under `cross_attention`, those of `FeedForward` or `MixtureOfExperts` under
            `feedforward`, and the gain and bias of `self_attention_norm`, `cross_attention_norm`, `feedforward_norm`;
            in a sandwich block also of `self_attention_output_norm` and so on, and in an output block of these
            alone; initialised when None.
        implementation: the path of all attention inside, as in `attention`.

    Raises:
        SpecificationError: for parameters that do not match the configuration, and for an unknown implementation.

    Example:
        >>> attention = spec.AttentionConfig(model=8, heads=2, causal=True)
        >>> feedforward = spec.FeedForwardConfig(model=8, hidden=16)
        >>> norm = spec.Norm("layer", eps=1e-5)
        >>> config = spec.BlockConfig(attention=attention, feedforward=feedforward, norm=norm, order="pre")
        >>> block = Block(config, weights.init(config))
        >>> tuple(block(torch.zeros(1, 3, 8)).shape)
        (1, 3, 8)
    """

    def __init__(
        self, config: BlockConfig, parameters: Mapping[str, Any] | None = None, *, implementation: str = "auto"
    ) -> None:
        super().__init__()
        check_implementation("Block", implementation)
        parameters = init_or_check("Block", config, parameters)
        self.config = config
        path = {"implementation": implementation}
        attention: Any = LatentAttention if isinstance(config.attention, LatentAttentionConfig) else MultiHeadAttention
        self.self_attention: Any = attention(config.attention, under(parameters, "self_attention"), **path)
        self.cross_attention = (
            MultiHeadAttention(config.cross_attention, under(parameters, "cross_attention"), **path)
            if config.cross_attention is not None
            else None
        )
        kind = MixtureOfExperts if isinstance(config.feedforward, MixtureConfig) else FeedForward
        self.feedforward = kind(config.feedforward, under(parameters, "feedforward"))
        crossing = [] if config.cross_attention is None else ["cross_attention"]
        for sublayer in ("self_attention", *crossing, "feedforward"):
            for scope in config.norms_of(sublayer):
                self.add_module(scope, normalization(config.norm, parameters, scope))

    def forward(
        self,
        array: Array,
        memory: Array | None = None,
        *,
        mask: Any = None,
        bias: Any = None,
        key_lengths: Any = None,
        positions: Any = None,
        memory_mask: Any = None,
        memory_lengths: Any = None,
        cache: BlockCache | None = None,
        return_cache: bool = False,
        tap: Tap | None = None,
    ) -> Any:
        """Apply the block.

        Arguments:
            array: `(b,q,m)`.
            memory: `(b,k,memory)`, the input of cross-attention; None when `cache` contains its keys and values.
            mask, bias, key_lengths, positions: of the self-attention, as in `MultiHeadAttention`.
            memory_mask: the mask of the cross-attention, boolean, broadcasts to `(b,h,q,k)`.
            memory_lengths: how many positions of the memory are not padding in each batch row, integers `(b,)`; all
                when None.
            cache: the cache that an earlier call returned; the positions of the queries of both attentions count from
                its length.
            return_cache: also return the cache.
            tap: receives everything under `self_attention`, `cross_attention` and `feedforward`, the result of every
                normalisation, and `output`.

        Returns:
            `(b,q,m)`, or a tuple of it and the cache if requested.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        given = {"array": array, "memory": memory, "memory_mask": memory_mask, "memory_lengths": memory_lengths}
        check_block(self.config, {**given, "cache": cache, "return_cache": return_cache, "tap": tap}, inspect)
        caches: list[Cache | None] = []

        def self_attention(x: Array) -> Array:
            result = self.self_attention(
                x,
                mask=mask,
                bias=bias,
                key_lengths=key_lengths,
                positions=positions,
                cache=cache.self_attention if cache is not None else None,
                return_cache=True,
                tap=scoped(tap, "self_attention"),
            )
            caches.append(result[1])
            return result[0]

        def cross_attention(x: Array) -> Array:
            if cache is not None:
                past, offsets = cache.cross_attention, cache.self_attention.lengths
            else:
                past, offsets = self.cross_attention.project_kv(memory, key_lengths=memory_lengths), None
            caches.append(past)
            options = {"mask": memory_mask, "tap": scoped(tap, "cross_attention")}
            return self.cross_attention(x, memory=past, query_offset=offsets, **options)

        def feedforward(x: Array) -> Array:
            return self.feedforward(x, tap=scoped(tap, "feedforward"))

        if self.config.order == "parallel":
            result = self._parallel(array, self_attention, feedforward, tap)
        else:
            result = self._sublayer(array, self_attention, "self_attention", tap)
            if self.cross_attention is not None:
                result = self._sublayer(result, cross_attention, "cross_attention", tap)
            result = self._sublayer(result, feedforward, "feedforward", tap)
        report(tap, "output", result)
        return (result, BlockCache(caches[0], caches[1] if len(caches) > 1 else None)) if return_cache else result

    def _sublayer(self, array: Array, sublayer: Callable[[Array], Array], name: str, tap: Tap | None) -> Array:
        """Apply a sublayer with its normalisations and its residual connection."""
        order, norms = self.config.order, self.config.norms_of(name)
        branch = self._norm(array, f"{name}_norm", tap) if order != "post" and f"{name}_norm" in norms else array
        start = branch if self.config.residual == "norm" else array
        branch = sublayer(branch)  # (b,q,m)
        if order in ("output", "sandwich"):
            branch = self._norm(branch, f"{name}_output_norm", tap)
        result = start + self._dropped(branch)  # (b,q,m)
        return self._norm(result, f"{name}_norm", tap) if order == "post" else result

    def _parallel(
        self,
        array: Array,
        self_attention: Callable[[Array], Array],
        feedforward: Callable[[Array], Array],
        tap: Tap | None,
    ) -> Array:
        """Add self-attention and feed-forward network, both applied to the same input."""
        normal = self._norm(array, "self_attention_norm", tap)  # (b,q,m)
        other = normal if self.config.shared_norm else self._norm(array, "feedforward_norm", tap)
        return array + self._dropped(self_attention(normal)) + self._dropped(feedforward(other))

    def _norm(self, array: Array, name: str, tap: Tap | None) -> Array:
        return report(tap, name, self.get_submodule(name)(array))

    def _dropped(self, branch: Array) -> Array:
        """Apply dropout to the output of a sublayer."""
        rate = self.config.dropout if self.training else 0.0
        return primitives.dropout(branch, primitives.draw_dropout_mask(branch.shape, rate, branch.device), rate)
