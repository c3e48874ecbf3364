"""The parameter tree: the name, shape and kind of every parameter of a configuration.

Names are dotted, kernels come input-first with explicit head axes, and a tied tensor appears once, under its first
owner. Names and shapes are the same in every backend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import singledispatch
from typing import Any, Literal, NamedTuple, get_args

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import (
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    LatentAttentionConfig,
    Learned,
    MixtureConfig,
    Norm,
)
from attention_ref.spec.errors import reject, shape_text
from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.shapes import REAL_DTYPES

Kind = Literal["kernel", "bias", "gain", "embedding", "table", "logit"]


class Parameter(NamedTuple):
    """A tensor of the tree.

    `kind` determines its initialisation; `inputs` is how many leading axes of a kernel are contracted; `start` is the
    initial value of a tensor that is not random.
    """

    shape: tuple[int, ...]
    kind: Kind
    inputs: int = 1
    start: float = 0.0


Tree = dict[str, Parameter]
Layer = AttentionConfig | LatentAttentionConfig | FeedForwardConfig | MixtureConfig
Config = Layer | BlockConfig | StackConfig | ModelConfig


def parameters(config: Config) -> Tree:
    """Return every parameter of a layer, block, stack or model, in order.

    For the base model of "Attention Is All You Need" the first are

        encoder.embedding.token                              (n,m)
        encoder.blocks.0.self_attention.query.kernel         (m,h,d)
        encoder.blocks.0.self_attention.query.bias           (h,d)
    """
    check_config("parameters", config)
    return dict(_parts(config))


def check_parameters(operation: str, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check names and shapes; one error lists every parameter that is missing, unexpected or misshapen.

    Arguments:
        operation: the name to report.
        config: the layer or model.
        shapes: the shape of every tensor by name.
    """
    check_config(operation, config)
    tree = parameters(config)
    lines = [f"missing {name} {shape_text(tree[name].shape)}" for name in tree if name not in shapes]
    lines += [f"unexpected {name} {shape_text(shape)}" for name, shape in shapes.items() if name not in tree]
    lines += [
        f"misshapen {name} {shape_text(shapes[name])}, must be {shape_text(tree[name].shape)}"
        for name in tree
        if name in shapes and tuple(shapes[name]) != tree[name].shape
    ]
    if lines:
        reject(operation, "the parameters must match the configuration", "\n  ".join(["", *lines]).lstrip())


def check_arrays(operation: str, config: Config, arrays: Mapping[str, Any], *, shared: Collection[str] = ()) -> None:
    """Check names, shapes and dtypes of arrays of any framework: real numbers, all of one dtype.

    Arguments:
        operation: the name to report.
        config: what the parameters are for.
        arrays: the parameters by name.
        shared: names of those that another layer owns, whose dtype may be another.

    Raises:
        SpecificationError: for arrays that are not the parameters of the configuration.
    """
    if not isinstance(arrays, Mapping):
        reject(operation, "the parameters must be a mapping of names to arrays", type(arrays).__name__)
    for name, array in arrays.items():
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            reject(operation, f"the parameter {name} must be an array", type(array).__name__)
    check_parameters(operation, config, {name: tuple(array.shape) for name, array in arrays.items()})
    first = ""
    for name, array in arrays.items():
        dtype = _dtype_name(array.dtype)
        first = first if first or name in shared else dtype
        if dtype not in REAL_DTYPES:
            reject(operation, f"the parameter {name} must be float16, bfloat16, float32 or float64", dtype)
        if dtype != first and name not in shared:
            reject(operation, "all parameters must have the same dtype", f"{first} and, for {name}, {dtype}")


def _dtype_name(dtype: Any) -> str:
    """Return the name that every framework writes last: `float32` of `torch.float32`."""
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[-1]


def check_config(operation: str, config: Any) -> None:
    """Check that a configuration is one that has parameters, and that of the layer where the operation is one."""
    layer = OPERATIONS.get(operation)
    kinds = get_args(Config) if layer is None or layer.record is None else (layer.record,)
    if not isinstance(config, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        reject(operation, f"the configuration must be of the type {names}", type(config).__name__)


def check_part(operation: str, kind: type[Any], config: Any, parameters: Any) -> None:
    """Check that a part of a model gets its kind of configuration, and a mapping of parameters or None."""
    if not isinstance(config, kind):
        reject(operation, f"the configuration must be of the type {kind.__name__}", type(config).__name__)
    if parameters is not None and not isinstance(parameters, Mapping):
        reject(operation, "the parameters must be a mapping of names to arrays", type(parameters).__name__)


def check_norm(config: Any, parameters: Any, name: Any) -> None:
    """Check what a call of `normalize` is given beside its array."""
    if not isinstance(config, Norm):
        reject("normalize", "config must be a Norm", type(config).__name__)
    if not isinstance(parameters, Mapping):
        reject("normalize", "parameters must be a mapping of names to arrays", type(parameters).__name__)
    if not isinstance(name, str):
        reject("normalize", "name must be text", type(name).__name__)


def under(parameters: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """Return the parameters under a scope, with their names in that scope."""
    return {name[len(scope) + 1 :]: array for name, array in parameters.items() if name.startswith(f"{scope}.")}


Named = Iterator[tuple[str, Parameter]]


@singledispatch
def _parts(config: Config) -> Named:
    raise TypeError(f"a {type(config).__name__} has no parameters")


def _under(scope: str, parts: Named) -> Named:
    for name, parameter in parts:
        yield f"{scope}.{name}", parameter


def _linear(name: str, inputs: tuple[int, ...], outputs: tuple[int, ...], bias: bool) -> Named:
    yield f"{name}.kernel", Parameter((*inputs, *outputs), "kernel", len(inputs))
    if bias:
        yield f"{name}.bias", Parameter(outputs, "bias")


def _norm(name: str, norm: Norm, *shape: int) -> Named:
    if norm.gain:
        yield f"{name}.gain", Parameter(shape, "gain", start=1.0 - norm.gain_offset)
    if norm.has_bias:
        yield f"{name}.bias", Parameter(shape, "bias")


@_parts.register
def _attention(config: AttentionConfig) -> Named:
    sizes = config.sizes
    yield from _linear("query", (config.model,), (sizes.heads, sizes.head), config.query_bias)
    yield from _linear("key", (sizes.memory,), (sizes.groups, sizes.head), config.key_bias)
    yield from _linear("value", (sizes.value_memory,), (sizes.groups, sizes.value), config.value_bias)
    if config.query_key_norm is not None:
        for name, heads in (("query_norm", sizes.heads), ("key_norm", sizes.groups)):
            own = () if config.query_key_norm_heads == "shared" else (heads,)
            yield from _norm(name, config.query_key_norm, *own, sizes.head)
    if config.relative_bias is not None:
        yield "relative_bias", Parameter((config.relative_bias.buckets, sizes.heads), "table")
    if config.sinks:
        yield "sinks", Parameter((sizes.heads,), "logit")
    if config.trained_key_value:
        yield "trained_key", Parameter((sizes.groups, sizes.head), "embedding")
        yield "trained_value", Parameter((sizes.groups, sizes.value), "embedding")
    yield from _linear("output", (sizes.heads, sizes.value), (sizes.output,), config.output_bias)


@_parts.register
def _latent_attention(config: LatentAttentionConfig) -> Named:
    sizes, latent = config.sizes, config.query_latent_size
    if latent is not None:
        yield from _linear("query_latent", (config.model,), (latent,), config.latent_bias)
        yield from _norm("query_latent_norm", config.norm, latent)
    yield from _linear("query", (latent or config.model,), (sizes.heads, sizes.head), False)
    yield from _linear("latent", (config.model,), (config.latent_size,), config.latent_bias)
    yield from _norm("latent_norm", config.norm, config.latent_size)
    yield from _linear("rotary_key", (config.model,), (config.rotary_size,), config.latent_bias)
    yield from _linear("key", (config.latent_size,), (sizes.heads, config.content_size), False)
    yield from _linear("value", (config.latent_size,), (sizes.heads, sizes.value), False)
    yield from _linear("output", (sizes.heads, sizes.value), (sizes.output,), config.output_bias)


@_parts.register
def _feedforward(config: FeedForwardConfig) -> Named:
    yield from _linear("input", (config.model,), (config.hidden,), config.input_bias)
    if config.gated:
        yield from _linear("gate", (config.model,), (config.hidden,), config.input_bias)
    yield from _linear("output", (config.hidden,), (config.model,), config.output_bias)


@_parts.register
def _mixture(config: MixtureConfig) -> Named:
    yield from _linear("router", (config.model,), (config.experts,), config.router_bias)
    if config.correction_bias:
        yield "correction_bias", Parameter((config.experts,), "bias")
    for i in range(config.experts):
        yield from _under(f"experts.{i}", _feedforward(config.expert))
    if config.shared is not None:
        yield from _under("shared", _feedforward(config.shared))
    if config.shared_gate:
        yield from _linear("shared_gate", (config.model,), (1,), False)


@_parts.register
def _block(config: BlockConfig) -> Named:
    parts = {
        "self_attention": _parts(config.attention),
        "cross_attention": _attention(config.cross_attention) if config.cross_attention is not None else None,
        "feedforward": _parts(config.feedforward),
    }
    for name, part in parts.items():
        if part is None:
            continue
        yield from _under(name, part)
        for norm in config.norms_of(name):
            yield from _norm(norm, config.norm, config.model)


def _embedding(config: EmbeddingConfig, model: int, *, shared: bool) -> Named:
    if config.vocab is not None and not shared:
        yield "token", Parameter((config.vocab, config.size or model), "embedding")
    if config.patches is not None:
        patches = config.patches
        yield from _linear("patch", (patches.size, patches.size, patches.channels), (model,), True)
        for token in patches.tokens:
            yield token, Parameter((model,), "embedding")
    if config.audio is not None:
        yield from _linear("first_convolution", (3, config.audio.channels), (model,), True)
        yield from _linear("second_convolution", (3, model), (model,), True)
    size = config.sum_size(model)
    if isinstance(config.positions, Learned):
        yield "position", Parameter((config.positions.length + config.positions.offset, size), "embedding")
    if config.types:
        yield "token_type", Parameter((config.types, size), "embedding")
    if config.norm is not None:
        yield from _norm("norm", config.norm, size)
    if config.size is not None:
        yield from _linear("projection", (config.size,), (model,), config.projection_bias)


@_parts.register
def _stack(config: StackConfig, *, shared: bool = False) -> Named:
    yield from _under("embedding", _embedding(config.embedding, config.model, shared=shared))
    if config.relative_bias is not None:
        heads = config.blocks[0].attention.heads
        yield "relative_bias", Parameter((config.relative_bias.buckets, heads), "table")
    for i, block in enumerate(config.blocks):
        yield from _under(f"blocks.{i}", _block(block))
    if config.norm is not None:
        yield from _norm("norm", config.norm, config.model)


def _head(config: HeadConfig, model: int) -> Named:
    if config.kind == "pooler":
        yield from _linear("pooler", (model,), (config.size,), config.bias)
        return
    size = config.transform_size or model
    if config.transform is not None:
        yield from _linear("transform", (model,), (size,), config.transform_bias)
        if config.norm is not None:
            yield from _norm("norm", config.norm, size)
    if not config.tied:
        yield "kernel", Parameter((size, config.size), "kernel")
    if config.bias:
        yield "bias", Parameter((config.size,), "bias")


@_parts.register
def _model(config: ModelConfig) -> Named:
    if config.encoder_stack is not None:
        yield from _under("encoder", _stack(config.encoder_stack))
    if config.decoder_stack is not None:
        yield from _under("decoder", _stack(config.decoder_stack, shared=config.shared_embedding))
    if config.head is not None:
        yield from _under("head", _head(config.head, config.last_stack.model))
