"""The attention functions of transformers, with a stand-in for the calling layer, from which they read attributes."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

from attention_ref.conformance.errors import Unsupported


def llama(query: Any, key: Any, value: Any, *, attention_mask: Any = None, scaling: float, dropout: float = 0.0) -> Any:
    """`eager_attention_forward` of Llama, which most models share."""
    return _eager("llama", query, key, value, attention_mask=attention_mask, scaling=scaling, dropout=dropout)


def gemma2(
    query: Any, key: Any, value: Any, *, attention_mask: Any = None, scaling: float, softcap: float | None = None
) -> Any:
    """`eager_attention_forward` of Gemma 2, with softcap."""
    return _eager("gemma2", query, key, value, attention_mask=attention_mask, scaling=scaling, softcap=softcap)


def gpt_oss(query: Any, key: Any, value: Any, *, attention_mask: Any = None, scaling: float, sinks: Any = None) -> Any:
    """`eager_attention_forward` of GPT-OSS, which always has sinks."""
    if sinks is None:
        raise Unsupported("it always uses sinks")
    return _eager("gpt_oss", query, key, value, attention_mask=attention_mask, scaling=scaling, sinks=sinks)


def _eager(
    model: str, query: Any, key: Any, value: Any, *, sinks: Any = None, dropout: float = 0.0, **options: Any
) -> Any:
    module = import_module(f"transformers.models.{model}.modeling_{model}")
    caller = _caller(query, key, training=dropout > 0, sinks=sinks)
    return module.eager_attention_forward(caller, query, key, value, dropout=dropout, **options)


def sdpa(
    query: Any,
    key: Any,
    value: Any,
    *,
    attention_mask: Any = None,
    position_bias: Any = None,
    scaling: float | None = None,
    is_causal: bool = False,
) -> Any:
    """`sdpa_attention_forward`."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    options = {"attention_mask": attention_mask, "position_bias": position_bias, "scaling": scaling}
    return sdpa_attention_forward(_caller(query, key), query, key, value, is_causal=is_causal, **options)[0]


def _caller(query: Any, key: Any, **more: Any) -> Any:
    return SimpleNamespace(num_key_value_groups=query.shape[1] // key.shape[1], **more)
