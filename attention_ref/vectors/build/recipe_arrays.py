"""The arrays of a recipe: which arrays a case has, their shapes and values.

A `shape` is written with the letters of the legend, `"b1qk"`; `b` stands for all leading sizes and a digit for itself.
Defaults follow from the table of operations and the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.arguments import Argument
from attention_ref.spec.config import (
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    LatentAttentionConfig,
    MixtureConfig,
    RelativeBias,
)
from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.parameters import Config, Parameter
from attention_ref.spec.parameters import parameters as tree
from attention_ref.spec.records import Record
from attention_ref.vectors.build.hashed_inputs import filled

Table = Mapping[str, Any]
_SAME_AS = {"g": "h", "v": "d", "e": "d", "a": "d"}
"""The letter whose size is used if a recipe has no size for a letter."""
_AMPLITUDES = {"kernel": 0.5, "bias": 1, "embedding": 1, "table": 2, "logit": 2}
_WRITTEN = (
    *("mask", "memory_mask", "bias", "sinks", "key_lengths", "lengths", "target_lengths", "memory_lengths"),
    *("query_offset", "dropout_mask", "positions", "types", "score_kernel", "query_kernel", "key_kernel"),
)
"""The order of optional arrays in files of format 1; others follow in the order of the table of operations."""


def inputs(operation: str, hashed: str, config: Record | None, sizes: Table, table: Table) -> dict[str, np.ndarray]:
    """Make the arrays of a case.

    Arguments:
        operation: the operation.
        hashed: the text that is hashed together with the array name.
        config: the configuration of the operation, or None.
        sizes: the sizes by letter of the shape legend.
        table: the table of the case in the recipe.
    """
    found = {}
    for argument in _arrays(operation):
        name = argument.name
        if argument.is_required or name in table or _is_read(name, config):
            kind, inner = argument.kind, table.get(name, {})
            stack = _stack_of(name, config)
            if stack is not None:
                kind = "real" if stack.embedding.vocab is None else "integer"
                inner = {**({"below": stack.embedding.vocab} if kind == "integer" else {}), **inner}
            found[name] = filled(hashed, name, _shape(argument, stack, sizes, inner), kind, inner)
    return found


def parameters(hashed: str, config: Config, tables: Table) -> dict[str, np.ndarray]:
    """Make the parameters of a layer.

    Arguments:
        hashed: as in `inputs`.
        config: the configuration of the layer.
        tables: the tables of some parameters in the recipe, by name.

    Raises:
        ValueError: for an unknown parameter.
    """
    known = tree(config)
    if unknown := set(tables) - set(known):
        raise ValueError(f"{hashed}: the layer has no parameters {', '.join(sorted(unknown))}")
    return {
        name: filled(hashed, name, parameter.shape, "real", {**_usual(name, parameter), **tables.get(name, {})})
        for name, parameter in known.items()
    }


def sizes_of(config: Record | None) -> dict[str, int]:
    """Return the sizes that a configuration determines, by their letters."""
    if isinstance(config, ModelConfig):
        return {"m": config.last_stack.model, "h": config.last_stack.blocks[0].attention.heads}
    if isinstance(config, BlockConfig):
        memory = config.cross_attention.sizes.memory if config.cross_attention is not None else config.model
        return {**sizes_of(config.attention), "c": memory}
    if isinstance(config, AttentionConfig | LatentAttentionConfig):
        sizes = config.sizes
        return {"m": config.model, "c": sizes.memory, "h": sizes.heads, "g": sizes.groups, "d": sizes.head}
    if isinstance(config, FeedForwardConfig):
        return {"m": config.model, "f": config.hidden}
    if isinstance(config, MixtureConfig):
        return sizes_of(config.expert)
    return {"u": config.buckets} if isinstance(config, RelativeBias) else {}


def _arrays(operation: str) -> list[Argument]:
    """Return the array arguments of an operation, in the order of a file."""

    def place(argument: Argument) -> int:
        if argument.is_required:
            return -1
        return _WRITTEN.index(argument.name) if argument.name in _WRITTEN else len(_WRITTEN)

    table = OPERATIONS[operation]
    every = (*table.positional, *sorted(table.named, key=place))
    return [argument for argument in every if argument.is_array]


def _is_read(name: str, config: Record | None) -> bool:
    """Return whether the configuration requires an optional array."""
    is_pair = isinstance(config, ModelConfig) and config.kind == "encoder-decoder"
    crosses = isinstance(config, BlockConfig) and config.cross_attention is not None
    return (name == "memory" and crosses) or (name == "target" and is_pair)


def _stack_of(name: str, config: Record | None) -> StackConfig | None:
    """Return the stack that reads an array."""
    if not isinstance(config, ModelConfig) or name not in ("source", "target"):
        return None
    return config.last_stack if name == "target" else config.encoder_stack or config.decoder_stack


def _shape(argument: Argument, stack: StackConfig | None, sizes: Table, inner: Table) -> list[int]:
    if "shape" in inner:
        return _sized(inner["shape"], sizes)
    if stack is not None:
        return _source_shape(stack.embedding, stack.model, sizes, argument.letters)
    has_free_rank = "..." in argument.axes or ("(" in argument.axes and not argument.is_per_row)
    if "values" in inner and has_free_rank:
        return [len(inner["values"])]
    return _sized(("bq" if "..." in argument.axes else "") + argument.letters, sizes)


def _source_shape(embedding: EmbeddingConfig, model: int, sizes: Table, letters: str) -> list[int]:
    batch = _sized("b", sizes)
    if embedding.patches is not None:
        return [*batch, embedding.patches.height, embedding.patches.width, embedding.patches.channels]
    length = _sized(letters[1:], sizes)
    if embedding.audio is not None:
        return [*batch, *length, embedding.audio.channels]
    return [*batch, *length, *([] if embedding.vocab is not None else [model])]


def _sized(letters: str, sizes: Table) -> list[int]:
    """Return the shape for a string of letters."""
    shape: list[int] = []
    for letter in letters:
        size = int(letter) if letter.isdigit() else sizes.get(letter, sizes.get(_SAME_AS.get(letter, letter)))
        shape += size if isinstance(size, list) else [size]
    return shape


def _usual(name: str, parameter: Parameter) -> dict[str, Any]:
    """Return the default filling of a parameter; gains are around their initial value, and logits of routers wide."""
    if name.endswith("router.kernel"):
        return {"amplitude": 2}
    if parameter.kind == "gain":
        return {"around": parameter.start, "amplitude": 0.5}
    return {"amplitude": _AMPLITUDES[parameter.kind]}
