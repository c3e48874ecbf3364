"""A layer of a model as a call of an operation, with the tensors that it read, for a diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.model_layers import ModelLayer
from attention_ref.conformance.divergence.recording import Arrays
from attention_ref.conformance.divergence.room_recorder import RoomRecorder
from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, MixtureConfig, Norm
from attention_ref.spec.parameters import parameters as tree
from attention_ref.spec.parameters import under
from attention_ref.spec.stack_config import EmbeddingConfig, StackConfig
from attention_ref.vectors.call import Call


@dataclass(frozen=True)
class Model:
    """A configured model with its inputs.

    Arguments:
        config: the model.
        parameters: its parameters.
        inputs: the arguments of its call.
    """

    config: ModelConfig
    parameters: Mapping[str, np.ndarray]
    inputs: Mapping[str, Any]

    def lengths(self, stack: str) -> dict[str, Any]:
        """Return the lengths of what a stack reads, as `key_lengths`, if they are given."""
        is_pair = self.config.encoder_stack is not None and self.config.decoder_stack is not None
        name = "target_lengths" if is_pair and stack == "decoder" else "lengths"
        return _given(key_lengths=self.inputs.get(name))


def model_of(recorder: RoomRecorder) -> Model:
    """Return the model of a recorder."""
    return Model(recorder.config, recorder.parameters, recorder.inputs)


def calls(layer: ModelLayer, name: str, values: Arrays, model: Model) -> Iterator[tuple[Call, str]]:
    """Return calls that compute the tensor `name` of a layer, and the tensor that each returns: first the layer, then
    the step alone.

    Arguments:
        layer: the layer.
        name: the tensor.
        values: the tensors that the layer read.
        model: the whole model.
    """
    given = {key: np.array(each, np.float64) for key, each in layer.given(values).items()}
    own = {key: np.asarray(each, np.float64) for key, each in under(model.parameters, layer.scope).items()}
    make = {
        "norm": _norm_call,
        "attention": _attention_call,
        "latent": _latent_call,
        "feedforward": _feedforward_call,
        "block": _block_call,
        "embedding": _embedding_call,
        "head": _head_call,
    }[layer.kind]
    yield make(layer, given, own, model), layer.result
    step = _step(layer, name.rpartition(".")[-1], given, own, values)
    if step is not None:
        yield step, name


def _norm_call(layer: ModelLayer, given: Arrays, own: Arrays, _: Model) -> Call:
    config: Norm = layer.config
    operation = "rms_norm" if config.kind == "rms" else "layer_norm"
    return Call(operation, {**given, **own}, {"eps": config.eps, "gain_offset": config.gain_offset})


def _attention_call(layer: ModelLayer, given: Arrays, own: Arrays, model: Model) -> Call:
    config, parameters = _with_bias(layer.config, own, layer, model)
    inputs = {**given, **_rules(layer, model)}
    return Call("MultiHeadAttention", inputs, {}, config, parameters)


def _latent_call(layer: ModelLayer, given: Arrays, own: Arrays, model: Model) -> Call:
    return Call("LatentAttention", {**given, **_rules(layer, model)}, {}, layer.config, own)


def _rules(layer: ModelLayer, model: Model) -> Arrays:
    """Return the arguments of a self-attention or a cross-attention that say which keys it sees."""
    if "key" in layer.inputs:
        return model.lengths("encoder")
    positions = {} if layer.stack != _first_stack(model) else _given(positions=model.inputs.get("positions"))
    mask = {} if layer.stack != _first_stack(model) else _given(mask=model.inputs.get("mask"))
    return {**model.lengths(layer.stack), **positions, **mask}


def _first_stack(model: Model) -> str:
    return "encoder" if model.config.encoder_stack is not None else "decoder"


def _with_bias(config: AttentionConfig, own: Arrays, layer: ModelLayer, model: Model) -> tuple[AttentionConfig, Arrays]:
    """Return a self-attention with the relative bias that its stack shares as its own."""
    stack: StackConfig = getattr(model.config, f"{layer.stack}_stack")
    is_multihead = isinstance(config, AttentionConfig)
    if stack.relative_bias is None or not is_multihead or layer.scope.endswith("cross_attention"):
        return config, own
    table = np.asarray(model.parameters[f"{layer.stack}.relative_bias"], np.float64)
    config = replace(config, relative_bias=stack.relative_bias)
    return config, {name: {**own, "relative_bias": table}[name] for name in tree(config)}


def _feedforward_call(layer: ModelLayer, given: Arrays, own: Arrays, _: Model) -> Call:
    operation = "MixtureOfExperts" if isinstance(layer.config, MixtureConfig) else "FeedForward"
    return Call(operation, given, {}, layer.config, own)


def _block_call(layer: ModelLayer, given: Arrays, own: Arrays, model: Model) -> Call:
    part = replace(layer, config=layer.config.attention)
    scoped = under(own, "self_attention")
    attention, of_attention = _with_bias(layer.config.attention, scoped, part, model)
    config = replace(layer.config, attention=attention)
    parameters = {**own, **{f"self_attention.{name}": each for name, each in of_attention.items()}}
    inputs = {**given, **_rules(part, model)}
    if "memory" in given and "lengths" in model.inputs:
        inputs["memory_lengths"] = np.asarray(model.inputs["lengths"])
    return Call("Block", inputs, {}, config, {name: parameters[name] for name in tree(config)})


def _embedding_call(layer: ModelLayer, _: Arrays, own: Arrays, model: Model) -> Call:
    """Return the embedding as a model whose one block adds nothing."""
    config: EmbeddingConfig = layer.config
    if layer.scope == "decoder.embedding" and model.config.shared_embedding:
        own = {"token": np.asarray(model.parameters["encoder.embedding.token"], np.float64), **own}
    stack: StackConfig = getattr(model.config, f"{layer.stack}_stack")
    is_first = layer.stack == _first_stack(model)
    names = ("source", "types", "positions", "lengths") if is_first else ("target", "target_lengths")
    inputs = _given(
        **{name.replace("target_", "").replace("target", "source"): model.inputs.get(name) for name in names}
    )
    return _around(config, stack.model, own, inputs, {})


def _head_call(layer: ModelLayer, given: Arrays, own: Arrays, model: Model) -> Call:
    """Return the head behind a model whose one block adds nothing."""
    head = layer.config
    if head.tied:
        stack = "encoder" if model.config.decoder_stack is None or model.config.shared_embedding else "decoder"
        token = np.asarray(model.parameters[f"{stack}.embedding.token"], np.float64)
        head, own = replace(head, tied=False), {**own, "kernel": np.ascontiguousarray(token.T)}
    lengths = model.lengths("decoder" if model.config.decoder_stack is not None else "encoder")
    inputs = {"source": given["array"], **_given(lengths=lengths.get("key_lengths"))}
    scoped = {f"head.{name}": each for name, each in own.items()}
    return _around(EmbeddingConfig(), given["array"].shape[-1], {}, inputs, scoped, head)


def _around(
    embedding: EmbeddingConfig, model: int, own: Arrays, inputs: Arrays, others: Arrays, head: Any = None
) -> Call:
    no_bias: Any = dict.fromkeys(("query_bias", "key_bias", "value_bias", "output_bias"), False)
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=1, head_size=1, **no_bias),
        feedforward=FeedForwardConfig(model=model, hidden=1, input_bias=False, output_bias=False),
        norm=Norm("rms", eps=1.0),
        order="pre",
    )
    config = ModelConfig(encoder_stack=StackConfig(embedding=embedding, blocks=(block,)), head=head)
    given = {**{f"encoder.embedding.{name}": each for name, each in own.items()}, **others}
    parameters = {name: given.get(name, np.zeros(each.shape)) for name, each in tree(config).items()}
    return Call("Transformer", inputs, {}, config, parameters)


def _step(layer: ModelLayer, name: str, given: Arrays, own: Arrays, values: Arrays) -> Call | None:
    """Return the call of the step of a layer that computes one tensor; None for a step that is no operation."""
    if layer.kind == "latent":  # its projections are normalised, rotated or joined before they are reported
        return None
    part = name.removesuffix("_projection")
    is_plain = isinstance(layer.config, FeedForwardConfig) and not layer.config.gated
    if is_plain and name == "hidden":
        return Call("activate", {"array": values[f"{layer.scope}.input"]}, {"name": layer.config.activation})
    arrays = {"output": f"{layer.scope}.hidden"} if layer.kind == "feedforward" else {}
    array = values.get(arrays[name]) if name in arrays else given.get("array")
    is_projected = part != name or (layer.kind == "attention" and layer.config.rotary is None)
    if layer.kind == "attention" and is_projected and part in ("query", "key", "value"):
        array = given["query"] if part == "query" else given.get("key", given["query"])
    if f"{part}.kernel" not in own or array is None or (layer.kind == "attention" and part == "output"):
        return None
    kernel = own[f"{part}.kernel"]
    inputs = {"array": array, "kernel": kernel, **_given(bias=own.get(f"{part}.bias"))}
    return Call("linear", inputs)


def _given(**arrays: Any) -> Arrays:
    return {name: np.asarray(each) for name, each in arrays.items() if each is not None}
