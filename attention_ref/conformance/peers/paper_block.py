"""The restrictions of the block classes of libraries: post- or pre-norm with LayerNorm, as in the paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from attention_ref.conformance.errors import Unsupported
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm


def require_plain(config: BlockConfig, *, bias: bool, is_memory_free: bool) -> None:
    """Raise `Unsupported`, naming the differing fields, for a block that is not the paper's apart from its sizes.

    Arguments:
        config: the configuration of the block; dropout rates are ignored, as they have no effect in inference.
        bias: whether every projection and norm has a bias.
        is_memory_free: whether the memory may have another model width.
    """
    if not isinstance(config.feedforward, FeedForwardConfig):
        raise Unsupported("no mixture of experts")
    if not isinstance(config.attention, AttentionConfig):
        raise Unsupported("no latent attention")
    memory = config.cross_attention
    size = memory.memory_size if memory is not None and is_memory_free else None
    plain = BlockConfig(
        attention=_attention(config.attention, bias, causal=config.attention.causal),
        cross_attention=None if memory is None else _attention(memory, bias, memory_size=size),
        feedforward=FeedForwardConfig(
            model=config.model,
            hidden=config.feedforward.hidden,
            activation=config.feedforward.activation,
            input_bias=bias,
            output_bias=bias,
            dropout=config.feedforward.dropout,
        ),
        norm=Norm("layer", eps=config.norm.eps, bias=bias),
        order=config.order if config.order in ("post", "pre") else "post",
        dropout=config.dropout,
    )
    if config != plain:
        raise Unsupported(f"no {', '.join(dict.fromkeys(_differences(config, plain)))}")


def _attention(config: AttentionConfig, bias: bool, **options: Any) -> AttentionConfig:
    names = ("query_bias", "key_bias", "value_bias", "output_bias")
    options |= dict.fromkeys(names, bias)
    return AttentionConfig(model=config.model, heads=config.heads, dropout=config.dropout, **options)


def _differences(given: Any, plain: Any) -> Iterator[str]:
    for field in fields(given):
        value, wanted = getattr(given, field.name), getattr(plain, field.name)
        if is_dataclass(value) and type(value) is type(wanted):
            yield from _differences(value, wanted)
        elif value != wanted:
            yield f"{field.name} {value!r}"
