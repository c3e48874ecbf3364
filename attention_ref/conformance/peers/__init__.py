"""Named peers: the attention of released libraries, each as a subject of the kit.

A peer is a function and the dialect that it speaks, see `attention_ref.conformance.dialects`. The function is the
library's own, or one beside this file where code is needed to call it: to build a layer, a model or a callback. Such
code passes every option to the library's own feature of that meaning, raises `Unsupported` where there is none, and
never makes up for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module, metadata, util
from typing import Any

from attention_ref.conformance.adapter import adapted, spoken
from attention_ref.conformance.dialect import Dialect, Exclusion
from attention_ref.conformance.dialects import named
from attention_ref.conformance.questions import ask
from attention_ref.conformance.subject import Subject, UsageError
from attention_ref.conformance.versions import is_within


@dataclass(frozen=True)
class Peer:
    """A released attention.

    Arguments:
        description: what it is.
        dialect: the name of the one that it speaks.
        attention: `module:function`; a module of this folder begins with a dot. Empty where it has no such operation.
        modules: what must be installed.
        layers: `module:function` that builds a layer, by operation.
        changes: fields of the dialect that are others here.
    """

    description: str
    dialect: str
    attention: str = ""
    modules: tuple[str, ...] = ()
    layers: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spoken(self) -> Dialect:
        """The dialect that it speaks."""
        return replace(named(self.dialect), **self.changes)

    def answer(self, question: str) -> str:
        """Ask its attention something, see `attention_ref.conformance.questions.ask`."""
        if not self.attention:
            raise UsageError(f"{self.description} has no attention to be asked")
        return ask(found(self.attention), self.spoken, question)

    @property
    def runs_on(self) -> str:
        """The kind of its arrays."""
        return named(self.dialect).arrays


_TORCH, _KERAS, _JAX = (
    partial(Peer, modules=("torch",)),
    partial(Peer, modules=("keras",)),
    partial(Peer, modules=("jax",)),
)
_FLAX = partial(Peer, modules=("jax", "flax"))
_TRANSFORMERS = partial(Peer, modules=("torch", "transformers"))
_X_TRANSFORMERS = partial(Peer, modules=("torch", "x_transformers"))

_EXCLUDED = tuple(Exclusion(("causal", name), "causal_lower_right is a mask itself") for name in ("mask", "bias"))
_NAN = Exclusion(("causal", "more queries"), "causal_lower_right warns of NaN where q > k")

PEERS: Mapping[str, Peer] = {
    "torch.sdpa": _TORCH(
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.sdpa",
        "torch.nn.functional:scaled_dot_product_attention",
    ),
    "torch.sdpa.lower_right": _TORCH(
        "the same, with causal_lower_right for is_causal",
        "torch.sdpa",
        ".torch_functions:lower_right",
        changes={"causal_alignment": "bottom right", "exclusions": (*_EXCLUDED, _NAN)},
    ),
    "torch.flex": _TORCH("torch.nn.attention.flex_attention, not compiled", "torch.flex", ".torch_functions:flex"),
    "torch.mha": _TORCH("torch.nn.MultiheadAttention in training", "torch.mha", ".torch_layers:trained"),
    "torch.mha.weights": _TORCH("the same, asked for its weights", "torch.mha", ".torch_layers:trained_with_weights"),
    "torch.mha.eval": _TORCH(
        "torch.nn.MultiheadAttention in evaluation, on its fast path", "torch.mha", ".torch_layers:evaluated"
    ),
    "torch.mha.eval.weights": _TORCH(
        "the same, asked for its weights", "torch.mha", ".torch_layers:evaluated_with_weights"
    ),
    "torch.encoder_layer": _TORCH(
        "torch.nn.TransformerEncoderLayer, and DecoderLayer, in training",
        "torch.encoder_layer",
        layers={"Block": ".torch_block:trained"},
    ),
    "torch.encoder_layer.eval": _TORCH(
        "the same in evaluation, on its fast path", "torch.encoder_layer", layers={"Block": ".torch_block:evaluated"}
    ),
    "keras.ops": _KERAS(
        "keras.ops.dot_product_attention on the running engine", "keras.ops", "keras.ops:dot_product_attention"
    ),
    "keras.mha": _KERAS("keras.layers.MultiHeadAttention, fused", "keras.mha", ".keras_layers:mha"),
    "keras.mha.scores": _KERAS("the same, asked for its scores", "keras.mha", ".keras_layers:mha_with_scores"),
    "keras.gqa": _KERAS("keras.layers.GroupQueryAttention, fused", "keras.gqa", ".keras_layers:gqa"),
    "keras.gqa.scores": _KERAS("the same, asked for its scores", "keras.gqa", ".keras_layers:gqa_with_scores"),
    "keras.attention": _KERAS("keras.layers.Attention", "keras.attention", ".keras_layers:attention"),
    "keras_hub": Peer(
        "keras_hub.layers.TransformerEncoder and TransformerDecoder",
        "keras_hub",
        modules=("keras", "keras_hub"),
        layers={"Block": ".keras_hub_block:block"},
    ),
    "jax.sdpa": _JAX("jax.nn.dot_product_attention", "jax.sdpa", ".jax_functions:sdpa"),
    "flax.linen": _FLAX("flax.linen.dot_product_attention", "flax.linen", ".jax_functions:linen"),
    "flax.nnx": _FLAX("flax.nnx.dot_product_attention", "flax.nnx", ".jax_functions:nnx"),
    "onnx.reference": Peer(
        "the ONNX operator Attention (opset 23 to 25), by onnx.reference",
        "onnx.reference",
        ".onnx_reference:attention",
        ("onnx",),
    ),
    "onnxruntime": Peer(
        "the ONNX operator Attention (opset 23 and 24), by onnxruntime on the CPU",
        "onnxruntime",
        ".onnxruntime:attention",
        ("onnx", "onnxruntime"),
    ),
    "transformers.eager": _TRANSFORMERS(
        "eager_attention_forward of transformers' Llama", "transformers.eager", ".transformers_functions:llama"
    ),
    "transformers.eager.gemma2": _TRANSFORMERS(
        "eager_attention_forward of transformers' Gemma 2", "transformers.eager", ".transformers_functions:gemma2"
    ),
    "transformers.eager.gpt_oss": _TRANSFORMERS(
        "eager_attention_forward of transformers' GPT-OSS", "transformers.eager", ".transformers_functions:gpt_oss"
    ),
    "transformers.sdpa": _TRANSFORMERS(
        "sdpa_attention_forward of transformers", "transformers.sdpa", ".transformers_functions:sdpa"
    ),
    "x_transformers": _X_TRANSFORMERS("x_transformers.attend.Attend", "x_transformers", ".x_transformers_layer:eager"),
    "x_transformers.flash": _X_TRANSFORMERS(
        "the same with flash=True", "x_transformers", ".x_transformers_layer:flash", changes={"dtypes": ()}
    ),
}
"""Every peer by its name."""


def peer(name: str) -> Subject:
    """Give a released library's attention as a subject of the kit.

    Arguments:
        name: a key of `PEERS`.

    Raises:
        ValueError: for another name.
        ModuleNotFoundError: when the library is not installed.
    """
    if name not in PEERS:
        raise ValueError(f"there is no peer {name!r}; the peers are {', '.join(PEERS)}")
    known = PEERS[name]
    if missing := [module for module in known.modules if util.find_spec(module) is None]:
        raise ModuleNotFoundError(f"the peer {name} needs {' and '.join(missing)}, which is not installed")
    dialect = known.spoken
    operations = {operation: found(path) for operation, path in known.layers.items()}
    if known.attention:
        function = found(known.attention)
        operations["attention"] = adapted(function, spoken(dialect, function))
    return Subject(name, dialect.arrays, operations, version=_version(dialect), dialect=dialect)


def found(path: str) -> Callable[..., Any]:
    """Import `module:function`; a module of this folder begins with a dot."""
    module, _, name = path.partition(":")
    return getattr(import_module(module, __name__), name)


def _version(dialect: Dialect) -> str:
    """Give the installed version, and say where nothing was measured with it."""
    version = metadata.version(dialect.library)
    text = version if is_within(version, dialect.versions) else f"{version} (measured with {dialect.versions})"
    if dialect.arrays == "keras":
        text += f" on {import_module('keras').backend.backend()}"
    return text
