"""Products in which a NaN or an infinity affects only the rows that see it.

They use `@`, because `ops.matmul` computes float64 in float32 on the PyTorch engine.
"""

from __future__ import annotations

import math

from keras import ops

from attention_ref.keras._arrays import Array, values


def products(query: Array, key: Array) -> Array:
    """Return `query @ key.mT`, with gradients in which a NaN or an infinity affects only the rows that see it."""
    finite_queries, finite_keys = (ops.isfinite(array) for array in (query, key))
    is_finite = ops.logical_and(
        ops.all(finite_queries, axis=-1)[..., None], ops.all(finite_keys, axis=-1)[..., None, :]
    )  # (b,h,q,k)
    if values(ops.all(is_finite)) == [True]:
        return query @ ops.swapaxes(key, -1, -2)
    products = ops.where(finite_queries, query, 0) @ ops.swapaxes(ops.where(finite_keys, key, 0), -1, -2)
    return ops.where(is_finite, products, ops.stop_gradient(query) @ ops.swapaxes(ops.stop_gradient(key), -1, -2))


def weighted_sum(weights: Array, value: Array, seen: Array) -> Array:
    """Return `weights @ value`, in which a NaN or an infinity in a value affects only the rows that see its key."""
    is_finite = ops.isfinite(value)
    output = weights @ ops.where(is_finite, value, 0)  # (b,h,q,v)
    if values(ops.all(is_finite)) == [True]:
        return output
    for special in (math.nan, math.inf, -math.inf):
        is_special = ops.isnan(value) if math.isnan(special) else value == special
        is_reached = ops.cast(seen, output.dtype) @ ops.cast(is_special, output.dtype) > 0
        output = ops.where(is_reached, output + special, output)
    return output
