"""The functions of JAX and Flax, compiled as a whole, which starts faster than operation by operation."""

from __future__ import annotations

from functools import cache
from typing import Any


def sdpa(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
    key_value_seq_lengths: Any = None,
    local_window_size: tuple[int, int] | None = None,
    return_residual: bool = False,
) -> Any:
    """`jax.nn.dot_product_attention`, with a length for every batch row."""
    import jax
    import jax.numpy as jnp

    lengths = key_value_seq_lengths
    if lengths is not None:
        lengths = jnp.broadcast_to(jnp.asarray(lengths, "int32"), query.shape[:-3] or (1,))
    function = _compiled(
        jax.nn.dot_product_attention, query, "scale", "is_causal", "local_window_size", "return_residual"
    )
    return function(
        query,
        key,
        value,
        bias=bias,
        mask=mask,
        scale=scale,
        is_causal=is_causal,
        key_value_seq_lengths=lengths,
        local_window_size=local_window_size,
        return_residual=return_residual,
    )


def linen(query: Any, key: Any, value: Any, *, mask: Any = None, bias: Any = None) -> Any:
    """`flax.linen.dot_product_attention`."""
    from flax.linen import dot_product_attention

    return _compiled(dot_product_attention, query)(query, key, value, bias=bias, mask=mask)


def nnx(query: Any, key: Any, value: Any, *, mask: Any = None, bias: Any = None, is_causal: bool = False) -> Any:
    """`flax.nnx.dot_product_attention`."""
    from flax.nnx import dot_product_attention

    return _compiled(dot_product_attention, query, "is_causal")(
        query, key, value, bias=bias, mask=mask, is_causal=is_causal
    )


def _compiled(function: Any, query: Any, *static: str) -> Any:
    """Compile a function, except for float16, whose matrix product does not compile for the CPU."""
    return function if query.dtype == "float16" else _jitted(function, static)


@cache
def _jitted(function: Any, static: tuple[str, ...]) -> Any:
    import jax

    return jax.jit(function, static_argnames=static)
