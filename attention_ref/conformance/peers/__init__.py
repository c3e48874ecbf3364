"""Named peers: the attention of released libraries, each as a subject of the kit.

A peer is a function and its dialect, see `attention_ref.conformance.dialects`. The function is the
library's own, or a wrapper in this folder if calling it takes code: to build a layer, a model or a callback. A wrapper
passes every option to the corresponding feature of the library, raises `Unsupported` if there is none, and never
emulates one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module, util
from typing import TYPE_CHECKING

from attention_ref.conformance.dialects.dialect import Dialect, Exclusion
from attention_ref.conformance.peers.peer import Peer, found
from attention_ref.conformance.peers.versions import is_within

if TYPE_CHECKING:
    from attention_ref.conformance.subjects.subject import Subject

_TORCH, _KERAS, _JAX = (
    partial(Peer, modules=("torch",)),
    partial(Peer, modules=("keras",)),
    partial(Peer, modules=("jax",)),
)
_ONNXRUNTIME = partial(Peer, modules=("onnx", "onnxruntime"))
_FLAX = partial(Peer, modules=("jax", "flax"))
_TRANSFORMERS = partial(Peer, modules=("torch", "transformers"))
_FLASH_ATTN = partial(Peer, modules=("torch", "flash_attn"))
_XFORMERS = partial(Peer, modules=("torch", "xformers"))
_FLASHINFER = partial(Peer, modules=("torch", "flashinfer"))
_X_TRANSFORMERS = partial(Peer, modules=("torch", "x_transformers"))

_LOWER_RIGHT = Exclusion(("causal", "more queries"), "causal_lower_right warns of NaN where q > k")
_FUSED = Exclusion(("float64",), "float64: the fused attention computes a part of it in float32")
_FUSED_ON_JAX = Exclusion(("engine jax", "value size"), "the jax engine requires values of the shape of the keys")
_SOFTMAX = Exclusion(("float64",), "float64: the softmax is computed in float32")

PEERS: Mapping[str, Peer] = {
    "torch.sdpa": _TORCH(
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.sdpa",
        "torch.nn.functional:scaled_dot_product_attention",
    ),
    "torch.sdpa.math": _TORCH(
        "torch.nn.functional.scaled_dot_product_attention with the backend MATH", "torch.sdpa", ".torch_functions:math"
    ),
    "torch.sdpa.flash": _TORCH(
        "torch.nn.functional.scaled_dot_product_attention with the backend FLASH_ATTENTION",
        "torch.sdpa",
        ".torch_functions:flash",
    ),
    "torch.sdpa.efficient": _TORCH(
        "torch.nn.functional.scaled_dot_product_attention with the backend EFFICIENT_ATTENTION",
        "torch.sdpa",
        ".torch_functions:efficient",
    ),
    "torch.sdpa.lower_right": _TORCH(
        "torch.nn.functional.scaled_dot_product_attention, with causal_lower_right for is_causal",
        "torch.sdpa",
        ".torch_functions:lower_right",
        excludes=(_LOWER_RIGHT,),
        changes={"causal_alignment": "bottom right"},
    ),
    "torch.flex": _TORCH("torch.nn.attention.flex_attention, not compiled", "torch.flex", ".torch_functions:flex"),
    "torch.flex.documents": _TORCH(
        "torch.nn.attention.flex_attention of packed sequences, not compiled",
        "torch.flex.documents",
        ".torch_packed:documents",
    ),
    "torch.flex.documents.compiled": _TORCH(
        "torch.nn.attention.flex_attention of packed sequences, compiled",
        "torch.flex.documents",
        ".torch_packed:compiled_documents",
        is_slow=True,
    ),
    "torch.nested": _TORCH(
        "torch.nn.functional.scaled_dot_product_attention of nested tensors", "torch.nested", ".torch_packed:nested"
    ),
    "torch.varlen": _TORCH(
        "torch.nn.attention.varlen.varlen_attn, on a GPU", "torch.varlen", ".torch_packed:variable_lengths"
    ),
    "torch.mha": _TORCH("torch.nn.MultiheadAttention in training", "torch.mha", ".torch_layers:trained"),
    "torch.mha.weights": _TORCH(
        "torch.nn.MultiheadAttention in training, returning weights",
        "torch.mha",
        ".torch_layers:trained_with_weights",
    ),
    "torch.mha.eval": _TORCH(
        "torch.nn.MultiheadAttention in evaluation, on its fast path", "torch.mha", ".torch_layers:evaluated"
    ),
    "torch.mha.eval.weights": _TORCH(
        "torch.nn.MultiheadAttention in evaluation, on its fast path, returning weights",
        "torch.mha",
        ".torch_layers:evaluated_with_weights",
    ),
    "torch.encoder_layer": _TORCH(
        "torch.nn.TransformerEncoderLayer, and DecoderLayer, in training",
        "torch.encoder_layer",
        layers={"Block": ".torch_block:trained"},
    ),
    "torch.encoder_layer.eval": _TORCH(
        "torch.nn.TransformerEncoderLayer in evaluation, on its fast path, and DecoderLayer",
        "torch.encoder_layer",
        layers={"Block": ".torch_block:evaluated"},
    ),
    "keras.ops": _KERAS(
        "keras.ops.dot_product_attention on the running engine", "keras.ops", "keras.ops:dot_product_attention"
    ),
    "keras.mha": _KERAS(
        "keras.layers.MultiHeadAttention on its fused path",
        "keras.mha",
        ".keras_layers:mha",
        excludes=(_FUSED, _FUSED_ON_JAX),
    ),
    "keras.mha.scores": _KERAS(
        "keras.layers.MultiHeadAttention, returning scores", "keras.mha", ".keras_layers:mha_with_scores"
    ),
    "keras.gqa": _KERAS(
        "keras.layers.GroupQueryAttention on its fused path", "keras.gqa", ".keras_layers:gqa", excludes=(_FUSED,)
    ),
    "keras.gqa.scores": _KERAS(
        "keras.layers.GroupQueryAttention, returning scores", "keras.gqa", ".keras_layers:gqa_with_scores"
    ),
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
    "onnxruntime.gqa": _ONNXRUNTIME(
        "onnxruntime's operator GroupQueryAttention on the CPU", "onnxruntime.gqa", ".onnx_contrib:grouped"
    ),
    "onnxruntime.gqa.packed": _ONNXRUNTIME(
        "onnxruntime's operator GroupQueryAttention, query, key and value in one array",
        "onnxruntime.gqa",
        ".onnx_contrib:grouped_packed",
    ),
    "onnxruntime.gqa.rotary": _ONNXRUNTIME(
        "onnxruntime's operator GroupQueryAttention, in one array, with rotary positions inside",
        "onnxruntime.gqa",
        ".onnx_contrib:grouped_rotary",
        changes={"head_sizes": (16, 32, 48, 64, 80, 96, 112, 128, 192, 256)},
    ),
    "onnxruntime.mha": _ONNXRUNTIME(
        "onnxruntime's operator MultiHeadAttention on the CPU", "onnxruntime.mha", ".onnx_contrib:multi_head"
    ),
    "flash_attn": _FLASH_ATTN("flash_attn.flash_attn_func", "flash_attn", "flash_attn:flash_attn_func"),
    "flash_attn.qkvpacked": _FLASH_ATTN(
        "flash_attn.flash_attn_qkvpacked_func", "flash_attn.qkvpacked", "flash_attn:flash_attn_qkvpacked_func"
    ),
    "flash_attn.varlen": _FLASH_ATTN(
        "flash_attn.flash_attn_varlen_func", "flash_attn.varlen", "flash_attn:flash_attn_varlen_func"
    ),
    "flash_attn.kvcache": _FLASH_ATTN(
        "flash_attn.flash_attn_with_kvcache", "flash_attn.kvcache", "flash_attn:flash_attn_with_kvcache"
    ),
    "flash_attn.paged": _FLASH_ATTN(
        "flash_attn.flash_attn_with_kvcache on pages", "flash_attn.paged", "flash_attn:flash_attn_with_kvcache"
    ),
    "flash_attn.varlen.paged": _FLASH_ATTN(
        "flash_attn.flash_attn_varlen_func on pages", "flash_attn.varlen.paged", "flash_attn:flash_attn_varlen_func"
    ),
    "flash_attn.varlen.qkvpacked": _FLASH_ATTN(
        "flash_attn.flash_attn_varlen_qkvpacked_func",
        "flash_attn.varlen.qkvpacked",
        "flash_attn:flash_attn_varlen_qkvpacked_func",
    ),
    "xformers": _XFORMERS(
        "xformers.ops.memory_efficient_attention", "xformers", ".xformers_functions:memory_efficient"
    ),
    "xformers.packed": _XFORMERS(
        "xformers.ops.memory_efficient_attention of packed sequences", "xformers.packed", ".xformers_functions:packed"
    ),
    "flashinfer.prefill": _FLASHINFER(
        "flashinfer.single_prefill_with_kv_cache", "flashinfer", ".flashinfer_functions:single_prefill"
    ),
    "flashinfer.decode": _FLASHINFER(
        "flashinfer.single_decode_with_kv_cache", "flashinfer", ".flashinfer_functions:single_decode"
    ),
    "flashinfer.paged": _FLASHINFER(
        "flashinfer.BatchDecodeWithPagedKVCacheWrapper", "flashinfer.paged", ".flashinfer_functions:batch_decode"
    ),
    "flashinfer.prefill.paged": _FLASHINFER(
        "flashinfer.BatchPrefillWithPagedKVCacheWrapper",
        "flashinfer.prefill.paged",
        ".flashinfer_functions:batch_prefill",
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
    "x_transformers": _X_TRANSFORMERS(
        "x_transformers.attend.Attend", "x_transformers", ".x_transformers_layer:eager", excludes=(_SOFTMAX,)
    ),
    "x_transformers.flash": _X_TRANSFORMERS(
        "x_transformers.attend.Attend with flash=True", "x_transformers", ".x_transformers_layer:flash"
    ),
}
"""Every peer by its name."""


def peer(name: str) -> Subject:
    """Return the attention of a released library as a subject of the kit.

    Arguments:
        name: a key of `PEERS`.

    Raises:
        ValueError: for an unknown name.
        ModuleNotFoundError: if the library is not installed.
    """
    if name not in PEERS:
        raise ValueError(f"there is no peer {name!r}; the peers are {', '.join(PEERS)}")
    require_peer(name)
    from attention_ref.conformance.dialects.adapter import adapted, narrowed
    from attention_ref.conformance.subjects.subject import Subject

    known = PEERS[name]
    dialect = known.own_dialect
    operations = {operation: found(path) for operation, path in known.layers.items()}
    if known.attention:
        function = found(known.attention)
        operations["attention"] = adapted(function, narrowed(dialect, function))
    return Subject(name, dialect.arrays, operations, version=_version(dialect), dialect=dialect)


def require_peer(name: str) -> None:
    """Raise `ModuleNotFoundError` if the library of a peer is not installed."""
    if missing := [module for module in PEERS[name].modules if util.find_spec(module) is None]:
        raise ModuleNotFoundError(f"the peer {name} needs {' and '.join(missing)}, which is not installed")


def _version(dialect: Dialect) -> str:
    """Return the installed version, with a remark if the dialect was measured with others."""
    from importlib import metadata

    version = metadata.version(dialect.library)
    text = version if is_within(version, dialect.versions) else f"{version} (measured with {dialect.versions})"
    if dialect.arrays == "keras":
        text += f" on {import_module('keras').backend.backend()}"
    return text
