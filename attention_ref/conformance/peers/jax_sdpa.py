"""JAX's `nn.dot_product_attention`."""

from __future__ import annotations

from functools import cache
from typing import Any

from attention_ref.conformance.subject import Unsupported

ARRAYS = "jax"


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    scale: float | None = None,
    return_log_sum_exp: bool = False,
) -> Any:
    """JAX puts the heads behind the length: `(b,q,h,d)`. A window that is open to a side is as wide as the arrays."""
    import jax.numpy as jnp

    if query.ndim not in (3, 4):
        raise Unsupported("arrays of rank 3 or 4 only")
    if query.dtype == jnp.float64:
        raise Unsupported("float64: the softmax is always computed in float32")
    if key.shape[-1] != value.shape[-1]:
        raise Unsupported("key and value must have the same shape")
    if key_lengths is not None:
        key_lengths = jnp.broadcast_to(jnp.asarray(key_lengths, "int32"), query.shape[:-3] or (1,))
    widest = query.shape[-2] + key.shape[-2]
    results = _compiled()(
        *(jnp.swapaxes(array, -3, -2) for array in (query, key, value)),
        bias=bias,
        mask=mask,
        scale=scale,
        is_causal=causal,
        key_value_seq_lengths=key_lengths,
        local_window_size=None if window is None else tuple(widest if side is None else side for side in window),
        return_residual=return_log_sum_exp,
    )
    if return_log_sum_exp:
        output, log_sum_exp = results
        return jnp.swapaxes(output, -3, -2), jnp.swapaxes(log_sum_exp, -2, -1)  # (b,q,h) -> (b,h,q)
    return jnp.swapaxes(results, -3, -2)


@cache
def _compiled() -> Any:
    """Compiled as a whole it starts faster than operation by operation."""
    import jax

    static = ("scale", "is_causal", "local_window_size", "return_residual")
    return jax.jit(jax.nn.dot_product_attention, static_argnames=static)
