"""What can be checked: how each operation is called, and the clauses that stand for it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from attention_ref.spec.records import from_json
from attention_ref.vectors.build.recipe_config import RECORDS


@dataclass(frozen=True)
class Operation:
    """How an operation is called.

    Arguments:
        arguments: what is given by position, where a case has it; everything else is given by name.
        group: what the ids of its clauses begin with.
        is_layer: whether it is built, `layer(config, parameters)`, and what it gives is called.
        takes_like: whether it is also given `like`, an array of the dtype to give.
    """

    arguments: tuple[str, ...]
    group: str
    is_layer: bool = False
    takes_like: bool = False


_QUERY_KEY_VALUE = ("query", "key", "value")

OPERATIONS: Mapping[str, Operation] = {
    "attention": Operation(_QUERY_KEY_VALUE, "attention"),
    "additive_attention": Operation(_QUERY_KEY_VALUE, "additive"),
    "multiplicative_attention": Operation(_QUERY_KEY_VALUE, "multiplicative"),
    "sinusoidal_positions": Operation(("positions", "size", "config"), "positions", takes_like=True),
    "rotate": Operation(("array", "positions", "config"), "positions"),
    "alibi_bias": Operation(("heads", "query_length", "key_length"), "positions", takes_like=True),
    "relative_bias": Operation(("table", "query_length", "key_length", "config"), "positions"),
    "linear": Operation(("array", "kernel", "bias"), "linear"),
    "layer_norm": Operation(("array", "gain", "bias"), "norms"),
    "rms_norm": Operation(("array", "gain"), "norms"),
    "activate": Operation(("array", "name"), "activations"),
    "MultiHeadAttention": Operation(_QUERY_KEY_VALUE, "multihead", is_layer=True),
    "FeedForward": Operation(("array",), "feedforward", is_layer=True),
    "Block": Operation(("array", "memory"), "block", is_layer=True),
    "Transformer": Operation(("source", "target"), "model", is_layer=True),
}
"""The operations that the specification defines, by the names that every backend exports."""

ATTENTIONS = ("attention", "additive_attention", "multiplicative_attention")
"""The operations that attend, without parameters."""


def configuration(operation: str, data: Any) -> Any:
    """Read the configuration of a case from its JSON; None where it has none."""
    return from_json(RECORDS[operation], data) if data is not None else None


def positional(operation: str, given: Container[str]) -> list[str]:
    """Give the names of what is passed by position in a call: those given, up to the first that is not."""
    names = OPERATIONS[operation].arguments
    count = next((i for i, name in enumerate(names) if name not in given), len(names))
    return list(names[:count])
