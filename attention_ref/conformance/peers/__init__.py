"""Named peers: the attention of released libraries, each behind an adapter of a dozen lines.

An adapter speaks the contract of `attention_ref.spec.attention.attention` on its library's own arrays. It passes every
option to the library's own feature of that meaning and raises `Unsupported` where the library has none; it never makes
up for one. What it does beside is layout, and what the library documents as the way to say something.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module, metadata, util

from attention_ref.conformance.subject import Subject

PEERS: Mapping[str, tuple[str, str]] = {
    "torch.sdpa": ("torch", "torch.nn.functional.scaled_dot_product_attention"),
    "torch.flex": ("torch", "torch.nn.attention.flex_attention, not compiled"),
    "keras.ops": ("keras", "keras.ops.dot_product_attention on the running engine"),
    "jax.sdpa": ("jax", "jax.nn.dot_product_attention"),
    "onnx.reference": ("onnx", "the ONNX operator Attention (opset 23 to 25), by onnx.reference"),
    "onnxruntime": ("onnxruntime", "the ONNX operator Attention (opset 23 and 24), by onnxruntime on the CPU"),
}
"""For every peer the module that it needs and what it is."""


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
    missing = [module for module in _modules(name) if util.find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(f"the peer {name} needs {' and '.join(missing)}, which is not installed")
    adapter = import_module(f"{__name__}.{name.replace('.', '_')}")
    return Subject(
        name=name, arrays=adapter.ARRAYS, operations={"attention": adapter.attention}, version=_version(name)
    )


def _modules(name: str) -> tuple[str, ...]:
    module, _ = PEERS[name]
    return (module, "onnx") if module == "onnxruntime" else (module,)


def _version(name: str) -> str:
    module, _ = PEERS[name]
    version = metadata.version(module)
    if module == "keras":
        version += f" on {import_module('keras').backend.backend()}"
    return version
