"""The `Attend` of x-transformers, built for every call, because options belong to the layer."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from attention_ref.conformance.errors import Unsupported


def eager(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    attn_bias: Any = None,
    causal: bool = False,
    scale: float | None = None,
    logit_softclamp_value: float | None = None,
    head_attn_sink: Any = None,
    dropout: float = 0.0,
    return_weights: bool = False,
) -> Any:
    """`Attend` on the path that computes the softmax itself."""
    options = {"causal": causal, "scale": scale, "heads": query.shape[1], "dropout": dropout}
    if logit_softclamp_value is not None:
        options |= {"softclamp_logits": True, "logit_softclamp_value": logit_softclamp_value}
    attend = _built(head_learned_sink=head_attn_sink is not None, **options)
    sinks = {"head_attn_sink": head_attn_sink} if head_attn_sink is not None else {}
    call = import_module("torch.func").functional_call  # so that gradients reach the sinks
    output, intermediates = call(attend, sinks, (query, key, value), {"mask": mask, "attn_bias": attn_bias})
    if not return_weights:
        return output
    if head_attn_sink is not None:
        raise Unsupported("its weights include the sink as a key")
    return output, intermediates.post_softmax_attn


def flash(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    attn_bias: Any = None,
    causal: bool = False,
    scale: float | None = None,
) -> Any:
    """`Attend` on the path that calls `scaled_dot_product_attention`."""
    return _built(causal=causal, scale=scale, flash=True)(query, key, value, mask=mask, attn_bias=attn_bias)[0]


def _built(**options: Any) -> Any:
    from x_transformers.attend import Attend

    return Attend(**options).train(options.get("dropout", 0) > 0)
