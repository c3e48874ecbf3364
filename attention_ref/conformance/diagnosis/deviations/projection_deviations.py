"""Deviations of linear maps: how kernels are read, in which order they are packed, biases."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters

QUERY_KEY_VALUE = ("query", "key", "value")
_ATTENTION_OUTPUT, _FEEDFORWARD_OUTPUT = (
    "output projection of attention",
    "output projection of the feed-forward network",
)


def role(parameters: Parameters, name: str) -> str:
    """Return the name of a projection, which for `output` says of which layer."""
    if name != "output":
        return name
    return _ATTENTION_OUTPUT if parameters["output.kernel"].ndim == 3 else _FEEDFORWARD_OUTPUT


def transposed(what: str, roles: Collection[str] = ()) -> type[Deviation]:
    """Return the deviation that reads the kernels of some projections, or of all, output-first."""

    class ProjectionTransposed(Deviation):
        __doc__ = f"The kernels of {what} are read output-first, as torch.nn.Linear stores them."
        slug = "projection.transposed"
        clause = "linear.formula"
        correction = "y = x kernel + bias with the kernel (inputs, outputs): transpose weights of torch.nn.Linear"

        def kernel(self, parameters: Parameters, name: str) -> Array:
            kernel = super().kernel(parameters, name)
            is_meant = not roles or role(parameters, name) in roles
            return _output_first(kernel, self.contracted) if is_meant else kernel

    return ProjectionTransposed


def _output_first(kernel: Array, inputs: int) -> Array:
    size = math.prod(kernel.shape[:inputs])
    return kernel.reshape(-1, size).T.reshape(kernel.shape) if kernel.size else kernel


def head_order(what: str, roles: Collection[str]) -> type[Deviation]:
    """Return the deviation that deals the columns of some projections to the heads in turn."""

    class ProjectionHeadOrder(Deviation):
        __doc__ = f"The {what} are dealt to the heads in turn, where each head has adjacent ones."
        slug = "projection.head-order"
        clause = "multihead.formula"
        correction = "a head has adjacent columns: reshape (m, h d) to (m,h,d), and (h v, m) to (h,v,m)"

        def kernel(self, parameters: Parameters, name: str) -> Array:
            kernel = super().kernel(parameters, name)
            if kernel.ndim != 3 or role(parameters, name) not in roles:
                return kernel
            first, second, third = kernel.shape
            if name == "output":  # (h,v,m) read as (v,h,m)
                return kernel.reshape(second, first, third).swapaxes(0, 1)
            return kernel.reshape(first, third, second).swapaxes(1, 2)  # (m,h,d) read as (m,d,h)

        def bias(self, parameters: Parameters, name: str) -> Array | None:
            bias = super().bias(parameters, name)
            is_meant = bias is not None and bias.ndim == 2 and role(parameters, name) in roles
            return bias.reshape(bias.shape[::-1]).T if is_meant and bias is not None else bias

    return ProjectionHeadOrder


class PackedOrder(Deviation):
    """Packed projections are taken apart in the order key, query, value."""

    slug = "projection.packed-order"
    clause = "multihead.formula"
    correction = "take packed projections apart in the order in which they were packed: query, key, value"
    packed: tuple[str, str, str] = ("key", "query", "value")

    def kernel(self, parameters: Parameters, name: str) -> Array:
        return super().kernel(parameters, self._taken(parameters, name))

    def bias(self, parameters: Parameters, name: str) -> Array | None:
        return super().bias(parameters, self._taken(parameters, name))

    def _taken(self, parameters: Parameters, name: str) -> str:
        if name not in QUERY_KEY_VALUE:
            return name
        other = self.packed[QUERY_KEY_VALUE.index(name)]
        has_shape = parameters[f"{other}.kernel"].shape == parameters[f"{name}.kernel"].shape
        return other if has_shape else name


class KernelsExchanged(Deviation):
    """The kernels of query and key are exchanged, their biases are not."""

    slug = "projection.kernels-exchanged"
    clause = "multihead.formula"
    correction = "load the kernel of the query projection as that of the query, and that of the key as that of the key"

    def kernel(self, parameters: Parameters, name: str) -> Array:
        other = {"query": "key", "key": "query"}.get(name, name)
        has_shape = parameters[f"{other}.kernel"].shape == parameters[f"{name}.kernel"].shape
        return super().kernel(parameters, other if has_shape else name)


class PackedInterleaved(Deviation):
    """Packed projections are taken apart head by head, as if query, key and value of each head stood together."""

    slug = "projection.packed-order"
    clause = "multihead.formula"
    correction = "take packed projections apart as they were packed: all heads of query, then of key, then of value"

    def kernel(self, parameters: Parameters, name: str) -> Array:
        return self._unpacked(parameters, name, "kernel", super().kernel)

    def bias(self, parameters: Parameters, name: str) -> Array | None:
        if f"{name}.bias" not in parameters:
            return None
        return self._unpacked(parameters, name, "bias", super().bias)

    def _unpacked(self, parameters: Parameters, name: str, kind: str, right: object) -> Array:
        own = right(parameters, name)  # type: ignore[operator]
        parts = [parameters.get(f"{each}.{kind}") for each in QUERY_KEY_VALUE]
        if name not in QUERY_KEY_VALUE or any(part is None or part.shape != own.shape for part in parts):
            return own
        packed = np.stack([part for part in parts if part is not None], axis=-3)  # (...,3,h,d)
        *leading, _, heads, size = packed.shape
        return packed.reshape(*leading, heads, 3, size)[..., QUERY_KEY_VALUE.index(name), :]


def bias_missing(what: str, roles: Collection[str] = ()) -> type[Deviation]:
    """Return the deviation that leaves out the biases of some projections, or of all."""

    class BiasMissing(Deviation):
        __doc__ = f"The biases of {what} are left out."
        slug = "projection.bias-missing"
        clause = "multihead.biases"
        correction = "add the biases that the configuration asks for"

        def bias(self, parameters: Parameters, name: str) -> Array | None:
            is_meant = not roles or role(parameters, name) in roles
            return None if is_meant else super().bias(parameters, name)

    return BiasMissing


class BiasRepeated(Deviation):
    """The bias of the output projection of attention is added once for each head."""

    slug = "projection.bias-repeated"
    clause = "multihead.biases"
    correction = "sum the heads first, then add the bias once"

    def bias(self, parameters: Parameters, name: str) -> Array | None:
        bias = super().bias(parameters, name)
        if bias is None or role(parameters, name) != _ATTENTION_OUTPUT:
            return bias
        return bias * len(parameters["output.kernel"])


class OutputMissing(Deviation):
    """The heads are returned side by side, without the output projection."""

    slug = "projection.output-missing"
    clause = "multihead.formula"
    correction = "multiply the merged heads by the output kernel"

    def project(self, array: Array, parameters: Parameters, name: str, inputs: int = 1) -> Array:
        if role(parameters, name) == _ATTENTION_OUTPUT:
            return array.reshape(*array.shape[:-2], -1)
        return super().project(array, parameters, name, inputs)


class HeadsSplitWrongly(Deviation):
    """Projections are reshaped from (b,l,h d) to (b,h,l,d) without exchanging the axes."""

    slug = "heads.split-wrongly"
    clause = "multihead.formula"
    correction = "reshape to (b,l,h,d), then exchange the axes 1 and 2"

    def split_heads(self, array: Array) -> Array:
        batch, length, heads, size = array.shape
        return array.reshape(batch, heads, length, size)


_SOME = {
    "the query, key and value projections": QUERY_KEY_VALUE,
    f"the {_ATTENTION_OUTPUT}": (_ATTENTION_OUTPUT,),
    f"the {_FEEDFORWARD_OUTPUT}": (_FEEDFORWARD_OUTPUT,),
    "the input projection of the feed-forward network": ("input", "gate"),
    "the query projection": ("query",),
    "the key projection": ("key",),
    "the value projection": ("value",),
}
_ORDERS = [("value", "key", "query"), ("query", "value", "key"), ("key", "value", "query"), ("value", "query", "key")]

PROJECTIONS: tuple[type[Deviation], ...] = (
    bias_missing("all projections"),
    *(bias_missing(what, roles) for what, roles in _SOME.items()),
    transposed("all projections"),
    *(transposed(what, roles) for what, roles in _SOME.items()),
    PackedOrder,
    *(
        variant(PackedOrder, f"Packed projections are taken apart as {', '.join(each)}.", packed=each)
        for each in _ORDERS
    ),
    KernelsExchanged,
    PackedInterleaved,
    HeadsSplitWrongly,
    head_order("rows of the output kernel", (_ATTENTION_OUTPUT,)),
    head_order("columns of the query, key and value kernels", QUERY_KEY_VALUE),
    head_order("columns of the key kernel", ("key",)),
    head_order("columns and rows of all kernels", (*QUERY_KEY_VALUE, _ATTENTION_OUTPUT)),
    BiasRepeated,
    OutputMissing,
)
