"""PyTorch's `nn.TransformerEncoderLayer` and, with a memory, `nn.TransformerDecoderLayer` as a block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attention_ref.conformance.peers.paper_block import require_plain
from attention_ref.spec.config import BlockConfig

Tensors = Mapping[str, Any]


def trained(config: BlockConfig, parameters: Tensors) -> Callable[..., Any]:
    """The layer in training mode, which without dropout computes the same function without the fast path."""
    return _caller(config, _built(config, parameters).train())


def evaluated(config: BlockConfig, parameters: Tensors) -> Callable[..., Any]:
    """The layer in evaluation mode and without gradients: an encoder layer takes its fused fast path."""
    import torch

    return torch.no_grad()(_caller(config, _built(config, parameters).eval()))


def _built(config: BlockConfig, parameters: Tensors) -> Any:
    from torch import nn

    require_plain(config, bias=config.norm.bias, is_memory_free=False)
    network: Any = config.feedforward
    kind = nn.TransformerEncoderLayer if config.cross_attention is None else nn.TransformerDecoderLayer
    layer = kind(
        config.model,
        config.attention.heads,
        dim_feedforward=network.hidden,
        dropout=0.0,
        activation=_activation(network.activation),
        layer_norm_eps=config.norm.eps,
        batch_first=True,
        norm_first=config.order == "pre",
        bias=config.norm.bias,
        dtype=parameters["feedforward.input.kernel"].dtype,
    )
    layer.load_state_dict(_translated(parameters, config.cross_attention is not None))
    return layer


def _activation(name: str) -> Any:
    import torch
    from torch.nn import functional

    callables = {
        "gelu_tanh": partial(functional.gelu, approximate="tanh"),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "silu": functional.silu,
    }
    return callables.get(name, name)


def _translated(parameters: Tensors, has_memory: bool) -> dict[str, Any]:
    """Return the parameters by PyTorch's names, kernels transposed, with query, key and value stacked."""
    scopes = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
    names = ["self_attention_norm", *(["cross_attention_norm"] if has_memory else []), "feedforward_norm"]
    leaves = {"gain": "weight", "bias": "bias", "kernel": "weight"}
    found: dict[str, Any] = {}
    for scope, theirs in list(scopes.items())[: 1 + has_memory]:
        found |= {f"{theirs}.{name}": tensor for name, tensor in _attention(parameters, scope).items()}
    parts = {name: f"norm{i}" for i, name in enumerate(names, 1)}
    parts |= {"feedforward.input": "linear1", "feedforward.output": "linear2"}
    for part, theirs in parts.items():
        for leaf, word in leaves.items():
            if (tensor := parameters.get(f"{part}.{leaf}")) is not None:
                found[f"{theirs}.{word}"] = tensor.T if leaf == "kernel" else tensor
    return found


def _attention(parameters: Tensors, scope: str) -> dict[str, Any]:
    import torch

    names = [f"{scope}.{name}" for name in ("query", "key", "value")]
    found = {
        "in_proj_weight": torch.cat([parameters[f"{name}.kernel"].flatten(1).T for name in names]),
        "out_proj.weight": parameters[f"{scope}.output.kernel"].flatten(0, 1).T,
    }
    if f"{scope}.output.bias" in parameters:
        found["in_proj_bias"] = torch.cat([parameters[f"{name}.bias"].flatten() for name in names])
        found["out_proj.bias"] = parameters[f"{scope}.output.bias"]
    return found


def _caller(config: BlockConfig, layer: Any) -> Callable[..., Any]:
    """Return a function that calls the layer; masks are True where hidden and are repeated for every head."""
    heads = config.attention.heads

    def encode(array: Any, *, mask: Any = None, bias: Any = None, key_lengths: Any = None) -> Any:
        hidden = _hidden(array, array, heads, mask, bias, config.attention.causal)
        return layer(array, src_mask=hidden, src_key_padding_mask=_padding(array, key_lengths, bias))

    def decode(
        array: Any,
        memory: Any,
        *,
        mask: Any = None,
        bias: Any = None,
        key_lengths: Any = None,
        memory_mask: Any = None,
        memory_lengths: Any = None,
    ) -> Any:
        return layer(
            array,
            memory,
            tgt_mask=_hidden(array, array, heads, mask, bias, config.attention.causal),
            memory_mask=_hidden(array, memory, heads, memory_mask, None, causal=False),
            tgt_key_padding_mask=_padding(array, key_lengths, bias),
            memory_key_padding_mask=_padding(memory, memory_lengths, None),
        )

    return encode if config.cross_attention is None else decode


def _hidden(array: Any, memory: Any, heads: int, mask: Any, bias: Any, causal: bool) -> Any:
    """Return a mask `(b*h,q,k)`, True where hidden, or with a bias numbers to add to the scores."""
    import torch

    shape = (len(array), heads, array.shape[1], memory.shape[1])
    visible = torch.ones(shape, dtype=torch.bool) if mask is None else mask.expand(shape)
    if causal:
        visible = visible.tril()
    if bias is not None:
        return bias.expand(shape).where(visible, -float("inf")).flatten(0, 1)
    return None if mask is None and not causal else ~visible.flatten(0, 1)


def _padding(array: Any, lengths: Any, bias: Any) -> Any:
    """Return the padding mask, boolean or additive like the attention mask, as the documentation requires."""
    import torch

    if lengths is None:
        return None
    is_padding = torch.arange(array.shape[1]) >= torch.as_tensor(lengths)[:, None]
    if bias is None:
        return is_padding
    return torch.zeros(is_padding.shape, dtype=array.dtype).masked_fill(is_padding, -float("inf"))
