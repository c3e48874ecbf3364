"""What there is to know of a backend before choosing it, as data. The tests hold every room to its dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from attention_ref.backends import ENGINES

DTYPES = ("float64", "float32", "float16", "bfloat16")


class Facts(NamedTuple):
    """The facts of one backend.

    Arguments:
        title: what people call it.
        module: what is imported.
        extra: what `python -m pip install "attention-ref[...]"` takes; nothing when empty.
        needs: the packages that it imports.
        engines: what those run on, where there is a choice.
        arrays: what it takes and returns.
        dtypes: those of its arrays.
        dtypes_need: what some of them need beside.
        devices: what it computes on.
        compilers: what its calls may be compiled with.
        training: what its models are to an optimizer; None where gradients do not flow through them.
    """

    title: str
    module: str
    extra: str
    needs: tuple[str, ...]
    engines: tuple[str, ...]
    arrays: str
    dtypes: tuple[str, ...]
    dtypes_need: str
    devices: str
    compilers: tuple[str, ...]
    training: str | None


FACTS: Mapping[str, Facts] = MappingProxyType(
    {
        "numpy": Facts(
            title="NumPy",
            module="attention_ref.numpy",
            extra="",
            needs=("numpy",),
            engines=(),
            arrays="numpy.ndarray",
            dtypes=DTYPES,
            dtypes_need="bfloat16 needs ml_dtypes",
            devices="the CPU",
            compilers=(),
            training=None,
        ),
        "torch": Facts(
            title="PyTorch",
            module="attention_ref.torch",
            extra="torch",
            needs=("torch",),
            engines=(),
            arrays="torch.Tensor",
            dtypes=DTYPES,
            dtypes_need="",
            devices="those of PyTorch",
            compilers=("torch.compile",),
            training="torch.nn.Module",
        ),
        "keras": Facts(
            title="Keras",
            module="attention_ref.keras",
            extra="keras",
            needs=("keras",),
            engines=ENGINES,
            arrays="tensors of the engine",
            dtypes=DTYPES,
            dtypes_need="float64 on JAX needs JAX_ENABLE_X64=1",
            devices="those of the engine",
            compilers=("tf.function", "jax.jit", "torch.compile"),
            training="keras.Model",
        ),
    }
)
"""The facts of every room, by name."""
