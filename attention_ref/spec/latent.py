"""Multi-head latent attention: keys and values are projected from a small latent, which is all that a cache stores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from attention_ref.spec import positions as codes
from attention_ref.spec import primitives
from attention_ref.spec.arrays import Array, as_array, indices, inspect
from attention_ref.spec.attention import attention
from attention_ref.spec.config import LatentAttentionConfig
from attention_ref.spec.latent_checks import check_latent
from attention_ref.spec.sequences import append, count_from, exchanged
from attention_ref.spec.taps import Tap, report


class LatentCache(NamedTuple):
    """The cache of latent attention: the latents and the rotated keys of earlier positions, as of one head.

    Arguments:
        latent: `(b,1,p,latent)`, after normalisation.
        key: `(b,1,p,rotary)`, the part of the keys that all heads share, after rotation.
        lengths: how many of the p positions of each batch row are filled, the first ones, integers `(b,)`.
    """

    latent: Array
    key: Array
    lengths: Array


class LatentAttention:
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

    Arguments:
        config: sizes and options.
        parameters: by name: `query.kernel (m,h,d)`, `latent.kernel (m,latent)`, `latent_norm.gain (latent)`,
            `rotary_key.kernel (m,rotary)`, `key.kernel (latent,h,content)`, `value.kernel (latent,h,v)`,
            `output.kernel (h,v,m)` and, if configured, `query_latent.kernel (m,query)` and
            `query_latent_norm.gain (query)`, with which `query.kernel` is `(query,h,d)`, `query_latent.bias (query)`,
            `latent.bias (latent)`, `rotary_key.bias (rotary)`, `output.bias (m)`.

    Source: DeepSeek-AI, "DeepSeek-V2" (2024), section 2.1; mscale: its released code, after Peng et al., "YaRN" (2023).

    How others differ: released checkpoints pack `latent` and `rotary_key` in one kernel, and `key` and `value` head by
    head in another one; other implementations cache keys and values of all heads.

    Example:
        >>> norm = Norm("rms", eps=1e-6)
        >>> sizes = {"latent_size": 4, "content_size": 4, "rotary_size": 2, "value_size": 3}
        >>> config = LatentAttentionConfig(model=8, heads=2, norm=norm, **sizes)
        >>> parameters = {name: as_array(array.tolist()) for name, array in weights.init(config).items()}
        >>> layer = LatentAttention(config, parameters)
        >>> layer(as_array([[[0.0] * 8] * 3])).shape
        (1, 3, 8)
    """

    def __init__(self, config: LatentAttentionConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.parameters = parameters

    def __call__(
        self,
        array: Array,
        *,
        mask: Any = None,
        bias: Any = None,
        key_lengths: Any = None,
        positions: Any = None,
        cache: LatentCache | None = None,
        return_weights: bool = False,
        return_cache: bool = False,
        tap: Tap | None = None,
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

        Returns:
            The output `(b,q,m)`, or a tuple of the output and, in this order, the weights and the cache that were
            requested.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        given = {"array": array, "bias": bias, "key_lengths": key_lengths, "positions": positions, "cache": cache}
        given |= {"return_weights": return_weights, "return_cache": return_cache, "tap": tap}
        given["query.kernel"] = self.parameters["query.kernel"]
        check_latent(self.config, given, inspect)
        batch, length, _ = array.shape
        starts = cache.lengths if cache is not None else Array((batch,), [0] * batch, "integer")
        places = as_array(positions) if positions is not None else count_from(starts, length)
        queries = report(tap, "query", self._queries(array, places, tap))  # (b,h,q,d)
        memory = self._compressed(array, places, key_lengths)
        memory = memory if cache is None else _appended(cache, memory)
        report(tap, "latent", memory.latent)  # (b,1,k,latent)
        report(tap, "rotary_key", memory.key)  # (b,1,k,rotary)
        content = self._from_latent(memory.latent, "key")  # (b,h,k,content)
        keys = report(tap, "key", _joined(content, memory.key))  # (b,h,k,d)
        values = report(tap, "value", self._from_latent(memory.latent, "value"))  # (b,h,k,v)
        outputs = attention(
            queries,
            keys,
            values,
            mask=mask,
            bias=bias,
            causal=self.config.causal,
            query_offset=starts,
            key_lengths=memory.lengths,
            scale=self._scale(),
            return_weights=return_weights,
            tap=tap,
        )
        mixed, *weights = outputs if return_weights else (outputs,)
        report(tap, "heads", mixed)  # (b,h,q,v)
        results = [report(tap, "output", self._linear(exchanged(mixed), "output", inputs=2)), *weights]  # (b,q,m)
        if return_cache:
            results.append(memory)
        return results[0] if len(results) == 1 else tuple(results)

    def _scale(self) -> float | None:
        """Return the factor of the scores; None for 1/sqrt(d)."""
        config, scaling = self.config, self.config.rotary.scaling
        if scaling is None or config.mscale == 0 or scaling.factor <= 1:
            return config.scale
        amplitude = 0.1 * config.mscale * math.log(scaling.factor) + 1
        return amplitude * amplitude / math.sqrt(config.sizes.head)

    def _queries(self, array: Array, places: Array, tap: Tap | None) -> Array:
        """Project to heads, from the latent if there is one, and rotate their last part: `(b,q,m)` to `(b,h,q,d)`."""
        if self.config.query_latent_size is not None:
            array = report(tap, "query_latent", self._latent(array, "query_latent"))  # (b,q,latent)
        heads = exchanged(self._linear(array, "query"))  # (b,q,h,d) -> (b,h,q,d)
        content, turned = _split(heads, self.config.content_size)  # (b,h,q,content), (b,h,q,rotary)
        return _joined(content, codes.rotate(turned, places, self.config.rotary))

    def _compressed(self, array: Array, places: Array, key_lengths: Any) -> LatentCache:
        """Project to latents and rotated keys: `(b,l,m)` to `(b,1,l,latent)` and `(b,1,l,rotary)`."""
        batch, length, _ = array.shape
        full = Array((batch,), [length] * batch, "integer")
        key = self._linear(array, "rotary_key")  # (b,l,rotary)
        return LatentCache(
            latent=_as_one_head(self._latent(array, "latent")),  # (b,l,latent) -> (b,1,l,latent)
            key=codes.rotate(_as_one_head(key), places, self.config.rotary),
            lengths=as_array(key_lengths) if key_lengths is not None else full,
        )

    def _latent(self, array: Array, name: str) -> Array:
        """Project to a latent and normalise it."""
        return primitives.normalize(self._linear(array, name), self.config.norm, self.parameters, f"{name}_norm")

    def _from_latent(self, latent: Array, name: str) -> Array:
        """Project latents to the keys or values of all heads: `(b,1,k,latent)` to `(b,h,k,content)` or `(b,h,k,v)`."""
        batch, _, length, size = latent.shape
        rows = Array((batch, length, size), latent.values, "real")  # (b,1,k,latent) -> (b,k,latent)
        return exchanged(self._linear(rows, name))

    def _linear(self, array: Array, name: str, inputs: int = 1) -> Array:
        kernel, bias = self.parameters[f"{name}.kernel"], self.parameters.get(f"{name}.bias")
        return primitives.linear(array, kernel, bias, inputs=inputs)


def _appended(cache: LatentCache, new: LatentCache) -> LatentCache:
    lengths = [old + more for old, more in zip(cache.lengths.values, new.lengths.values, strict=True)]
    return LatentCache(
        latent=append(cache.latent, new.latent, cache.lengths),
        key=append(cache.key, new.key, cache.lengths),
        lengths=Array(cache.lengths.shape, lengths, "integer"),
    )


def _as_one_head(array: Array) -> Array:
    """Add an axis for heads: `(b,l,d)` to `(b,1,l,d)`."""
    batch, length, size = array.shape
    return Array((batch, 1, length, size), array.values, "real")


def _split(heads: Array, size: int) -> tuple[Array, Array]:
    """Split the last axis behind the first `size` numbers."""
    rows = [heads[index] for index in indices(heads.shape[:-1])]
    parts = [[n for row in rows for n in row[:size]], [n for row in rows for n in row[size:]]]
    first, second = ((*heads.shape[:-1], each) for each in (size, heads.shape[-1] - size))
    return Array(first, parts[0], "real"), Array(second, parts[1], "real")


def _joined(content: Array, rotated: Array) -> Array:
    """Join both parts of queries or keys; one rotated part `(b,1,l,rotary)` is that of all heads."""
    batch, heads, length, _ = content.shape
    values: list[Any] = []
    for row, head, place in indices((batch, heads, length)):
        values += content[(row, head, place)]
        values += rotated[(row, min(head, rotated.shape[1] - 1), place)]
    return Array((batch, heads, length, content.shape[-1] + rotated.shape[-1]), values, "real")
