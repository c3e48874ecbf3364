"""Static caches: buffers of a given length, which steps of decoding fill in place of copying all earlier positions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attention_ref.numpy._arrays import Array, as_array, inspect
from attention_ref.numpy._places import integers
from attention_ref.spec.state_checks import check_static


class StaticCache(NamedTuple):
    """A KV cache of `MultiHeadAttention` with room for a given number of positions, as `static_cache` returns it.

    A call writes into the arrays of its cache and returns them, without a copy, so that a cache can be continued in one
    way only; `Transformer.select` copies it for several.

    Arguments:
        key: `(b,g,k,d)`, after normalisation and rotation.
        value: `(b,g,k,v)`.
        lengths: how many of the k positions of each batch row are filled, the first ones, integers `(b,)`.

    Example:
        >>> cache = StaticCache(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2, 2)), np.array([2]))
        >>> cache.key.shape
        (1, 1, 2, 2)
    """

    key: Array
    value: Array
    lengths: Array


class StaticLatentCache(NamedTuple):
    """A cache of `LatentAttention` with room for a given number of positions, as `static_cache` returns it.

    Arguments:
        latent: `(b,1,k,latent)`, after normalisation.
        key: `(b,1,k,rotary)`, the part of the keys that all heads share, after rotation.
        lengths: how many of the k positions of each batch row are filled, the first ones, integers `(b,)`.

    Example:
        >>> cache = StaticLatentCache(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2, 2)), np.array([2]))
        >>> cache.key.shape
        (1, 1, 2, 2)
    """

    latent: Array
    key: Array
    lengths: Array


def static_cache(cache: Any, length: int) -> StaticCache | StaticLatentCache:
    """Return a copy of a cache with room for `length` positions, which a layer takes in place of the cache.

    The outputs are the same. Masks, biases and weights `(b,h,q,k)` have all `length` positions as keys; those that are
    not filled are hidden. `transformers` calls such a cache `StaticCache` too.

    Arguments:
        cache: the `Cache` or `LatentCache` that a call returned.
        length: how many positions of each batch row the result can hold, at least those of `cache`.

    Returns:
        The static cache. A call that would fill more than `length` positions raises `SpecificationError`.

    Raises:
        SpecificationError: for what is no cache, and for a `length` below its positions.

    Example:
        >>> config = spec.AttentionConfig(model=8, heads=2, causal=True)
        >>> layer = MultiHeadAttention(config, weights.init(config))
        >>> cache = static_cache(layer.project_kv(np.zeros((1, 3, 8), np.float32)), 5)
        >>> cache.key.shape
        (1, 2, 5, 4)
    """
    check_static(cache, length, inspect)
    kind = StaticLatentCache if hasattr(cache, "latent") else StaticCache
    arrays = [as_array(getattr(cache, name)) for name in kind._fields[:-1]]
    buffers = [
        np.pad(array, [(0, 0), (0, 0), (0, length - array.shape[2]), (0, 0)]) for array in arrays
    ]  # (b,g,length,_)
    return kind(*buffers, integers(cache.lengths))
