"""The layers of a configured model: what each computes, with which parameters, from which tensors of a recording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_ref.spec.architecture import ModelConfig, StackConfig
from attention_ref.spec.config import BlockConfig, LatentAttentionConfig
from attention_ref.spec.parameters import under

Sum = tuple[str, ...]
"""The names of recorded tensors whose sum is an input."""


@dataclass(frozen=True)
class ModelLayer:
    """A layer of a model.

    Arguments:
        scope: its name in the model, with which the names of its tensors begin.
        kind: embedding, norm, attention, latent, feedforward, block or head.
        config: its configuration.
        inputs: the tensors that it reads, by argument.
        stack: encoder or decoder.
        result: the name of the tensor that it returns.
    """

    scope: str
    kind: str
    config: Any
    inputs: Mapping[str, Sum]
    stack: str
    result: str

    def given(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return its inputs from a recording."""
        return {
            name: np.asarray(sum((values[each] for each in parts), np.float64(0.0)))
            for name, parts in self.inputs.items()
        }


def model_layers(config: ModelConfig) -> list[ModelLayer]:
    """Return every layer of a model, in order; a block comes behind the layers in it."""
    layers: list[ModelLayer] = []
    memory: Sum = ()
    for name in ("encoder", "decoder"):
        stack: StackConfig | None = getattr(config, f"{name}_stack")
        if stack is not None:
            layers += _stack_layers(stack, name, memory)
            memory = (layers[-1].result,)
    if config.head is not None:
        layers.append(ModelLayer("head", "head", config.head, {"array": memory}, "", "head.output"))
    return layers


def _stack_layers(config: StackConfig, name: str, memory: Sum) -> Iterator[ModelLayer]:
    scope = f"{name}.embedding"
    yield ModelLayer(scope, "embedding", config.embedding, {}, name, f"{scope}.output")
    array: Sum = (f"{scope}.output",)
    for i, block in enumerate(config.blocks):
        scope = f"{name}.blocks.{i}"
        yield from _block_layers(block, scope, name, array, memory)
        result = f"{scope}.feedforward_norm" if block.order == "post" else f"{scope}.output"
        inputs = {"array": array} | ({"memory": memory} if block.cross_attention is not None else {})
        yield ModelLayer(scope, "block", block, inputs, name, result)
        array = (result,)
    if config.norm is not None:
        yield ModelLayer(f"{name}.norm", "norm", config.norm, {"array": array}, name, f"{name}.norm")


def _block_layers(config: BlockConfig, scope: str, stack: str, array: Sum, memory: Sum) -> Iterator[ModelLayer]:
    sublayers: dict[str, Any] = {"self_attention": config.attention, "cross_attention": config.cross_attention}
    sublayers["feedforward"] = config.feedforward
    for name, of_kind in sublayers.items():
        if of_kind is None:
            continue
        path, norms = f"{scope}.{name}", [f"{scope}.{norm}" for norm in config.norms_of(name)]
        result: Sum = (f"{path}.output",)
        first, last = f"{path}_norm", f"{path}_output_norm"
        branch = start = array
        if first in norms and config.order != "post":
            yield ModelLayer(first, "norm", config.norm, {"array": array}, stack, first)
            branch = (first,)
        elif name == "feedforward" and config.shared_norm:
            branch = (f"{scope}.self_attention_norm",)
        if config.residual == "norm":
            start = branch
        kind = "latent" if isinstance(of_kind, LatentAttentionConfig) else "attention"
        kind = "feedforward" if name == "feedforward" else kind
        inputs = {"query" if kind == "attention" else "array": branch}
        inputs |= {"key": memory} if name == "cross_attention" else {}
        yield ModelLayer(path, kind, of_kind, inputs, stack, result[0])
        if last in norms:
            yield ModelLayer(last, "norm", config.norm, {"array": result}, stack, last)
            result = (last,)
        if config.order == "post":
            yield ModelLayer(first, "norm", config.norm, {"array": (*start, *result)}, stack, first)
            array = (first,)
        elif config.order != "parallel":
            array = (*start, *result)


def projections(
    config: ModelConfig, parameters: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the projections `(b,l,h,d)` of queries and keys that are rotated or normalised afterwards, and all that
    are clipped.

    The keys are the names of the tensors that come of them, such as `decoder.blocks.0.self_attention.query`.
    """
    found = {}
    for layer in model_layers(config):
        if layer.kind != "attention":
            continue
        is_clipped = layer.config.clip is not None
        is_changed = is_clipped or layer.config.rotary is not None or layer.config.query_key_norm is not None
        own, given = under(parameters, layer.scope), layer.given(values)
        for name in ("query", "key") * is_changed + ("value",) * is_clipped:
            array = given.get(name, given["query"])  # (b,l,m)
            projected = np.einsum("blm,mhd->blhd", array, own[f"{name}.kernel"].astype(np.float64))
            found[f"{layer.scope}.{name}"] = projected + own.get(f"{name}.bias", 0.0)
    return found


def layer_of(layers: list[ModelLayer], name: str) -> ModelLayer | None:
    """Return the smallest layer that computes a tensor of the model."""
    inside = [each for each in layers if name == each.result or name.startswith(f"{each.scope}.")]
    return max(inside, key=lambda each: len(each.scope), default=None)
