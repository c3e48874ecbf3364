"""Rules between one tensor of a released model and the parameters of ours that it contains, each in both directions.

Our kernels are input-first with an axis for heads, `(m,h,d)`, biases are `(h,d)`. `write` is the exact inverse of
`read`: no rule changes a number, only where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_ref.spec.errors import reject
from attention_ref.spec.parameters import Parameter

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """A tensor or a module, by `name`, that is laid out in one way; without more, as ours is."""

    name: str

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """The shape of their tensor."""
        return parameters[0].shape

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:
        """Our parameters, of their tensor."""
        return [array.reshape(parameters[0].shape)]

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:
        """Their tensor, of our parameters."""
        return arrays[0].reshape(self.shape(parameters))


@dataclass(frozen=True)
class Flat(Rule):
    """A kernel `(inputs, outputs)` and a bias `(outputs,)`, without an axis for heads (GPT-2's Conv1D)."""

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """`(i,o)` of a kernel, `(o)` of a bias."""
        return _matrix(parameters[0])


@dataclass(frozen=True)
class Linear(Rule):
    """A kernel `(outputs, inputs)` and a bias `(outputs,)`, as in `torch.nn.Linear`; a table or gain as it is."""

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """`(o,i)` of a kernel, `(o)` of a bias."""
        matrix = _matrix(parameters[0])
        return matrix[::-1] if parameters[0].kind == "kernel" else matrix

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:
        """Transpose, then split heads."""
        turned = array.T if parameters[0].kind == "kernel" else array
        return [turned.reshape(parameters[0].shape)]  # (o,i) to (i,o), then (m,h,d) or (h,v,m)

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:
        """Merge heads, then transpose."""
        matrix = arrays[0].reshape(_matrix(parameters[0]))
        return matrix.T if parameters[0].kind == "kernel" else matrix


@dataclass(frozen=True)
class Shared(Linear):
    """One module for several blocks (ALBERT)."""

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:
        """The same for each block."""
        return super().read(array, parameters) * len(parameters)

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:
        """The tensor of the first block, if all blocks have the same."""
        if any(array.tobytes() != arrays[0].tobytes() for array in arrays):
            reject("weights.write", f"the blocks that share {self.name} must have the same", "others")
        return super().write(arrays[:1], parameters[:1])


@dataclass(frozen=True)
class Merged(Rule):
    """The same tensor with all its axes in one (OLMo 2's gains of all heads), behind `ones` axes of size 1."""

    ones: int = 0

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """`(h*d)` of `(h,d)`."""
        return (1,) * self.ones + (math.prod(parameters[0].shape),)


@dataclass(frozen=True)
class Convolution(Rule):
    """A kernel `(m, channels, *window)`, as in `torch.nn.Conv1d` and `Conv2d`; ours is `(*window, channels, m)`."""

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """`(m,c,*window)` of a kernel, `(m)` of a bias."""
        shape = parameters[0].shape
        return (shape[-1], shape[-2], *shape[:-2]) if len(shape) > 1 else shape

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:
        """Move the window to the front and the output to the back."""
        return [np.moveaxis(array, (0, 1), (-1, -2)) if parameters[0].kind == "kernel" else array]

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:
        """Move the output to the front and the window to the back."""
        return np.moveaxis(arrays[0], (-1, -2), (0, 1)) if parameters[0].kind == "kernel" else arrays[0]


@dataclass(frozen=True)
class Leading(Rule):
    """The same tensor behind `ones` axes of size 1."""

    ones: int = 1

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """Ones, then our shape."""
        return (1,) * self.ones + parameters[0].shape


@dataclass(frozen=True)
class SideBySide(Rule):
    """Several kernels joined along their outputs, `(i, o1 + o2 + ...)` (GPT-2's queries, keys and values)."""

    transposed: bool = False
    """Whether the joined kernel is `(outputs, inputs)`, as in `torch.nn.MultiheadAttention`."""

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """`(i,o)` or `(o,i)` of the joined kernel, `(o)` of the joined bias."""
        shape = (*_matrix(parameters[0])[:-1], sum(_matrix(parameter)[-1] for parameter in parameters))
        return shape[::-1] if self.transposed else shape

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:
        """Split along the outputs."""
        ends = np.cumsum([_matrix(parameter)[-1] for parameter in parameters])
        parts = np.split(array.T if self.transposed else array, ends[:-1], axis=-1)
        return [part.reshape(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:
        """Join along the outputs."""
        parts = [array.reshape(_matrix(parameter)) for array, parameter in zip(arrays, parameters, strict=True)]
        joined = np.concatenate(parts, axis=-1)
        return joined.T if self.transposed else joined


@dataclass(frozen=True)
class WithinHeads(Rule):
    """Queries, keys and values of the first head, then those of the second, and so on: `(h * 3 * d, i)` (GPT-NeoX,
    BLOOM), or parts of several sizes (keys and values of DeepSeek).
    """

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """`(h * 3 * d, i)` of the joined kernel, `(h * 3 * d)` of the joined bias."""
        matrices = [_matrix(parameter) for parameter in parameters]
        return (sum(matrix[-1] for matrix in matrices), *matrices[0][:-1])

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:
        """Split within each head."""
        heads, sizes = parameters[0].shape[-2], [parameter.shape[-1] for parameter in parameters]
        packed = array.reshape(heads, sum(sizes), *array.shape[1:])  # (h,3*d,m), or (h,3*d) of a bias
        parts = np.split(packed, np.cumsum(sizes)[:-1], axis=1)
        return [np.moveaxis(part, -1, 0) if array.ndim > 1 else part for part in parts]

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:
        """Join within each head."""
        parts = [np.moveaxis(array, 0, -1) if array.ndim > 2 else array for array in arrays]  # (h,d,m), or (h,d)
        return np.concatenate(parts, axis=1).reshape(self.shape(parameters))


@dataclass(frozen=True)
class WithinGroups(Rule):
    """For each group: its queries, its key and its value: `(g * (h/g + 2) * d, i)` (Falcon)."""

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """`(g * (h/g + 2) * d, i)` of the joined kernel, `(g * (h/g + 2) * d)` of the joined bias."""
        matrices = [_matrix(parameter) for parameter in parameters]
        return (sum(matrix[-1] for matrix in matrices), *matrices[0][:-1])

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:
        """Split within each group."""
        heads, size = parameters[0].shape[-2:]
        groups = parameters[1].shape[-2]
        rest = array.shape[1:]
        packed = array.reshape(groups, heads // groups + 2, size, *rest)  # (g,h/g+2,d,m), or (g,h/g+2,d) of a bias
        parts = [packed[:, :-2].reshape(heads, size, *rest), packed[:, -2], packed[:, -1]]
        return [np.moveaxis(part, -1, 0) if rest else part for part in parts]

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:
        """Join within each group."""
        query, key, value = (np.moveaxis(array, 0, -1) if array.ndim > 2 else array for array in arrays)  # (h,d,m)
        queries = query.reshape(key.shape[0], -1, *key.shape[1:])  # (g,h/g,d,m)
        return np.concatenate([queries, key[:, None], value[:, None]], axis=1).reshape(self.shape(parameters))


@dataclass(frozen=True)
class Stacked(Rule):
    """The kernels of all experts in one tensor `(e, inputs, outputs)`, and their biases in one `(e, outputs)`."""

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """The number of experts, then our shape."""
        return (len(parameters), *parameters[0].shape)

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:  # noqa: ARG002
        """Split the experts."""
        return list(array)

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:  # noqa: ARG002
        """Join the experts."""
        return np.stack(arrays)


@dataclass(frozen=True)
class StackedPairs(Rule):
    """Two projections of all experts in one tensor `(e, inputs, 2 * outputs)`, whose outputs alternate; and their
    biases in one `(e, 2 * outputs)` (gpt-oss's gates and inputs).
    """

    def shape(self, parameters: Sequence[Parameter]) -> Shape:
        """The number of experts, then our shape, with twice the outputs."""
        *inputs, outputs = parameters[0].shape
        return (len(parameters) // 2, *inputs, 2 * outputs)

    def read(self, array: Array, parameters: Sequence[Parameter]) -> list[Array]:  # noqa: ARG002
        """The first of every pair, for each expert, then the second."""
        return [*array[..., 0::2], *array[..., 1::2]]

    def write(self, arrays: Sequence[Array], parameters: Sequence[Parameter]) -> Array:
        """Join the pairs, then the experts."""
        half = len(arrays) // 2
        pairs = np.stack([np.stack(arrays[:half]), np.stack(arrays[half:])], axis=-1)  # (e,i,o,2), or (e,o,2) of biases
        return pairs.reshape(self.shape(parameters))


def _matrix(parameter: Parameter) -> Shape:
    """The shape of a kernel as a matrix `(i,o)`, of a bias as a vector `(o)`, of everything else as it is."""
    if parameter.kind == "kernel":
        inputs = parameter.inputs
        return (math.prod(parameter.shape[:inputs]), math.prod(parameter.shape[inputs:]))
    return (math.prod(parameter.shape),) if parameter.kind == "bias" else parameter.shape
