"""A family of released models: its configuration in our words, and where each of our parameters is among its tensors.

A table maps the name of a parameter, or of a part that has a kernel, gain or bias, to the tensor or part that holds it;
`*` is the number of the block. Where the tensor is laid out differently from the usual `(output, input)`, the entry is
a pair of a rule and the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.parameters import parameters

Rule = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
Table = Mapping[str, "str | tuple[Rule, str]"]


@dataclass(frozen=True)
class Family:
    """A small model of a family.

    Arguments:
        name: of the test.
        model: the class in `transformers`.
        options: of its configuration, away from the defaults.
        configure: the configuration in our words.
        table: see above.
        inputs: what the model reads: `tokens`, `segments` (tokens and types), `pair` (source and target),
            `classified` (the source, with the target made of it), `image`, `sound`.
        output: which of the results is compared.
        padding: whether answers at padding are those of other places too.
        known: how much the other library's own constants are off, relative to the largest output.
        ignored: tensors that the model has and does not use, or computes for itself.
        untied: modules whose weight is made a tensor of its own, as loading a file that has it does.
    """

    name: str
    model: str
    options: Mapping[str, Any]
    configure: Callable[[Any], ModelConfig]
    table: Table
    inputs: str = "tokens"
    output: str = "logits"
    padding: bool = True
    known: float = 0.0
    ignored: tuple[str, ...] = ()
    untied: tuple[str, ...] = ()


def linear(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`(output, input)` to input-first, then heads."""
    return array.T.reshape(shape)


def same(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Input-first already, or no kernel."""
    return array.reshape(shape)


def third(index: int) -> Rule:
    """One of query, key and value, packed side by side along the last axis: `(input, 3 * output)`."""
    return lambda array, shape: np.split(array, 3, axis=-1)[index].reshape(shape)


def third_rows(index: int) -> Rule:
    """One of query, key and value, packed one below the other: `(3 * output, input)`."""
    return lambda array, shape: np.split(array, 3, axis=0)[index].T.reshape(shape)


def third_of_heads(index: int) -> Rule:
    """One of query, key and value, packed within each head: `(heads * 3 * size, input)`."""

    def rule(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        heads, size = shape[-2:]
        packed = array.reshape(heads, 3, size, -1)[:, index]  # (h,d,m), or (h,d,1) of a bias
        return packed.reshape(heads * size, -1).T.reshape(shape)

    return rule


def squares(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The kernel of a convolution of images, `(output, channels, height, width)`."""
    return array.transpose(2, 3, 1, 0).reshape(shape)


def translate(config: Any, state: Mapping[str, np.ndarray], table: Table) -> tuple[dict[str, np.ndarray], set[str]]:
    """Give our parameters, and the names of the tensors that were read."""
    result, read = {}, set()
    for name, parameter in parameters(config).items():
        rule, source = _find(table, name, linear if parameter.kind == "kernel" else same)
        result[name] = np.array(rule(state[source], parameter.shape), np.float64)
        read.add(source)
    return result, read


LEAVES = {"kernel": "weight", "gain": "weight", "bias": "bias"}


def _find(table: Table, name: str, usual: Rule) -> tuple[Rule, str]:
    number = re.search(r"\.(\d+)\.", name)
    pattern = re.sub(r"\.\d+\.", ".*.", name, count=1)
    scope, leaf = pattern.rsplit(".", 1)
    entry = table[pattern] if pattern in table else table[scope]
    rule, source = entry if isinstance(entry, tuple) else (usual, entry)
    source = source if pattern in table else f"{source}.{LEAVES[leaf]}"
    return rule, source.replace("*", number[1]) if number else source


ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
}


def biases(projections: bool, output: bool | None = None) -> dict[str, bool]:
    """The biases of query, key and value, and that of the output."""
    names = ("query_bias", "key_bias", "value_bias")
    return {**dict.fromkeys(names, projections), "output_bias": projections if output is None else output}


def within(scope: str, other: str, table: Table) -> dict[str, Any]:
    """Put the same prefixes before every name of a table."""
    return {
        f"{scope}.{ours}": (theirs[0], f"{other}.{theirs[1]}") if isinstance(theirs, tuple) else f"{other}.{theirs}"
        for ours, theirs in table.items()
    }
