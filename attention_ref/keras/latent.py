"""Multi-head latent attention: keys and values are projected from a small latent, which is all that a cache stores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from attention_ref.keras import positions as codes
from attention_ref.keras import primitives
from attention_ref.keras._arrays import Array, inspect, integers
from attention_ref.keras._more_keys import appended
from attention_ref.keras._parameters import Attending, init_or_check
from attention_ref.keras._places import count_from, one_or_each, unless_whole
from attention_ref.keras.attention import attention
from attention_ref.keras.caches import StaticLatentCache
from attention_ref.spec.config import LatentAttentionConfig
from attention_ref.spec.latent_checks import check_latent
from attention_ref.spec.taps import Tap, report


class LatentCache(NamedTuple):
    """The cache of latent attention: the latents and the rotated keys of earlier positions, as of one head.

    Arguments:
        latent: `(b,1,p,latent)`, after normalisation.
        key: `(b,1,p,rotary)`, the part of the keys that all heads share, after rotation.
        lengths: how many of the p positions of each batch row are filled, the first ones, integers `(b,)`.

    Example:
        >>> cache = LatentCache(ops.zeros((1, 1, 3, 4)), ops.zeros((1, 1, 3, 2)), ops.array([3]))
        >>> ops.convert_to_numpy(cache.lengths).tolist()
        [3]
    """

    latent: Array
    key: Array
    lengths: Array


@keras.saving.register_keras_serializable(package="attention_ref")
class LatentAttention(Attending):
    """Multi-head latent attention, from every position of a sequence to every other.

        query_latent = norm(x W_query_latent + b_query_latent)            the input x itself without such a latent
        latent       = norm(x W_latent + b_latent)
        rotary_key   = rotate(x W_rotary_key + b_rotary_key)              one for all heads
        query_h      = query_latent W_query_h                             with its last part rotated
        key_h        = (latent W_key_h, rotary_key)                       the two parts joined
        value_h      = latent W_value_h
        output       = sum_h attention(query_h, key_h, value_h) W_output_h + b_output

    A query or key has d numbers: its content and its rotary part, which is the last one. The scores are multiplied by
    `1/sqrt(d)`, and with an mscale and a rotary scaling whose factor is above 1 also by
    `(0.1 mscale log(factor) + 1)^2`.

    In training, `config.dropout` is applied to the weights.

    Arguments:
        config: sizes and options.
        parameters: by name: `query.kernel (m,h,d)`, `latent.kernel (m,latent)`, `latent_norm.gain (latent)`,
            `rotary_key.kernel (m,rotary)`, `key.kernel (latent,h,content)`, `value.kernel (latent,h,v)`,
            `output.kernel (h,v,m)` and, if configured, `query_latent.kernel (m,query)` and
            `query_latent_norm.gain (query)`, with which `query.kernel` is `(query,h,d)`, `query_latent.bias (query)`,
            `latent.bias (latent)`, `rotary_key.bias (rotary)`, `output.bias (m)`; initialised when None.
        implementation: the path of attention: `"auto"`, `"fused"` or `"reference"`, as in `attention`; no parameter
            depends on it, and it is not saved with them.
        options: those of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        SpecificationError: for parameters that do not match the configuration, and for an unknown implementation.

    Example:
        >>> norm = spec.Norm("rms", eps=1e-6)
        >>> sizes = {"latent_size": 4, "content_size": 4, "rotary_size": 2, "value_size": 3}
        >>> config = spec.LatentAttentionConfig(model=8, heads=2, norm=norm, **sizes)
        >>> layer = LatentAttention(config, weights.init(config))
        >>> tuple(layer(ops.zeros((1, 3, 8))).shape)
        (1, 3, 8)
    """

    record = LatentAttentionConfig

    def __init__(
        self,
        config: LatentAttentionConfig,
        parameters: Mapping[str, Any] | None = None,
        *,
        implementation: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(implementation=implementation, **options)
        parameters = init_or_check("LatentAttention", config, parameters)
        self.config = config
        self.register(parameters)

    def call(
        self,
        array: Array,
        *,
        mask: Any = None,
        bias: Any = None,
        key_lengths: Any = None,
        positions: Any = None,
        cache: LatentCache | StaticLatentCache | None = None,
        return_weights: bool = False,
        return_cache: bool = False,
        tap: Tap | None = None,
        training: bool | None = None,
    ) -> Any:
        """Attend from every position of `array` to every other.

        Arguments:
            array: `(b,q,m)`.
            mask: boolean, broadcasts to `(b,h,q,k)`; k includes the positions of the cache.
            bias: broadcasts to `(b,h,q,k)`.
            key_lengths: how many of the new positions of each batch row are not padding, integers `(b,)`; all when
                None.
            positions: the positions by which queries and keys are rotated, integers `(q,)` or `(b,q)`; when None, they
                count up from the length of the cache.
            cache: what an earlier call returned, to which the new positions are appended. The causal mask and the
                rotary positions count from its length.
            return_weights: also return the weights `(b,h,q,k)`.
            return_cache: also return the cache with the new positions.
            tap: receives `query_latent`, `query`, `latent`, `rotary_key`, `key`, `value`, `scores`, `weights`, `heads`
                and `output`.
            training: apply dropout; as Keras is set when None.

        Returns:
            The output `(b,q,m)`, or a tuple of the output and, in this order, the weights and the cache that were
            requested.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        given = {"array": array, "bias": bias, "key_lengths": key_lengths, "positions": positions, "cache": cache}
        given |= {"return_weights": return_weights, "return_cache": return_cache, "tap": tap}
        given["query.kernel"] = self.tensors["query.kernel"]
        check_latent(self.config, given, inspect)
        start = 0 if cache is None else one_or_each(cache.lengths)
        places = count_from(start, ops.shape(array)[1]) if positions is None else integers(positions)
        is_padded = not (cache is None and key_lengths is None)
        queries = report(tap, "query", self._queries(array, places, tap))  # (b,h,q,d)
        memory = self._compressed(array, places, key_lengths)
        memory = memory if cache is None else appended("LatentAttention", cache, memory, LatentCache)
        report(tap, "latent", memory.latent)  # (b,1,k,latent)
        report(tap, "rotary_key", memory.key)  # (b,1,k,rotary)
        content = self._from_latent(memory.latent, "key")  # (b,h,k,content)
        keys = report(tap, "key", _joined(content, memory.key))  # (b,h,k,d)
        values = report(tap, "value", self._from_latent(memory.latent, "value"))  # (b,h,k,v)
        rate = self.config.dropout if training else 0.0
        shape = (*ops.shape(queries)[:-1], ops.shape(keys)[2])  # (b,h,q,k)
        outputs = attention(
            queries,
            keys,
            values,
            mask=mask,
            bias=bias,
            causal=self.config.causal,
            query_offset=start,
            key_lengths=unless_whole(memory) if is_padded else None,
            scale=self._scale(),
            dropout=rate,
            dropout_mask=primitives.draw_dropout_mask(shape, rate, self.seed_generator),
            return_weights=return_weights,
            implementation=self.implementation,
            tap=tap,
        )
        mixed, *weights = outputs if return_weights else (outputs,)
        report(tap, "heads", mixed)  # (b,h,q,v)
        mixed = ops.swapaxes(mixed, 1, 2)  # (b,h,q,v) -> (b,q,h,v)
        results = [report(tap, "output", self._linear(mixed, "output", inputs=2)), *weights]  # (b,q,m)
        if return_cache:
            results.append(memory)
        return results[0] if len(results) == 1 else tuple(results)

    def _scale(self) -> float | None:
        """Return the factor of the scores; None for 1/sqrt(d)."""
        config, scaling = self.config, self.config.rotary.scaling
        if scaling is None or config.mscale == 0 or scaling.factor <= 1:
            return config.scale
        amplitude = 0.1 * config.mscale * math.log(scaling.factor) + 1
        return amplitude**2 / math.sqrt(config.content_size + config.rotary_size)

    def _queries(self, array: Array, places: Array, tap: Tap | None) -> Array:
        """Project to heads, from the latent if there is one, and rotate their last part: `(b,q,m)` to `(b,h,q,d)`."""
        if self.config.query_latent_size is not None:
            array = report(tap, "query_latent", self._latent(array, "query_latent"))  # (b,q,latent)
        heads = ops.swapaxes(self._linear(array, "query"), 1, 2)  # (b,q,h,d) -> (b,h,q,d)
        content, turned = ops.split(heads, [self.config.content_size], axis=-1)  # (b,h,q,content), (b,h,q,rotary)
        return _joined(content, codes.rotate(turned, places, self.config.rotary))

    def _compressed(self, array: Array, places: Array, key_lengths: Any) -> LatentCache:
        """Project to latents and rotated keys: `(b,l,m)` to `(b,1,l,latent)` and `(b,1,l,rotary)`."""
        batch, length, _ = ops.shape(array)
        all_real = ops.zeros((batch,), dtype="int32") + length
        key = self._linear(array, "rotary_key")  # (b,l,rotary)
        return LatentCache(
            latent=self._latent(array, "latent")[:, None],  # (b,l,latent) -> (b,1,l,latent)
            key=codes.rotate(key[:, None], places, self.config.rotary),
            lengths=all_real if key_lengths is None else integers(key_lengths),
        )

    def _latent(self, array: Array, name: str) -> Array:
        """Project to a latent and normalise it."""
        return primitives.normalize(self._linear(array, name), self.config.norm, self.tensors, f"{name}_norm")

    def _from_latent(self, latent: Array, name: str) -> Array:
        """Project latents to the keys or values of all heads: `(b,1,k,latent)` to `(b,h,k,content)` or `(b,h,k,v)`."""
        return ops.swapaxes(self._linear(latent[:, 0], name), 1, 2)  # (b,k,h,v) -> (b,h,k,v)

    def _linear(self, array: Array, name: str, inputs: int = 1) -> Array:
        kernel, bias = self.tensors[f"{name}.kernel"], self.tensors.get(f"{name}.bias")
        return primitives.linear(array, kernel, bias, inputs=inputs)


def _joined(content: Array, rotated: Array) -> Array:
    """Join both parts of queries or keys; one rotated part `(b,1,l,rotary)` is that of all heads."""
    shared = ops.broadcast_to(rotated, (*ops.shape(content)[:-1], rotated.shape[-1]))
    return ops.concatenate([content, shared], axis=-1)
