"""Recipes of positional codes, linear maps, normalisations, activations and layers.

Their files and cases say what `attention_ref.vectors.build.recipe` explains, and

    config        see configuration.py; the file's own, and what a case changes of it
    parameters    a table for each parameter that is not simply hashed
    chunks        how many new places every batch row takes in each call, where a layer decodes with a cache

Sizes that follow from the configuration have letters too: `m`, `c` (the memory's), `h`, `g` and `n` (tokens).
Every parameter is random: kernels are up to 1/2, biases and embeddings up to 1, gains 1 +- 1/2, so that no default
start hides a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attention_ref.spec import Array
from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, RelativeBias
from attention_ref.spec.parameters import Parameter
from attention_ref.spec.parameters import parameters as tree
from attention_ref.spec.records import Record
from attention_ref.vectors.build import recipe as recipes
from attention_ref.vectors.build.hashed_inputs import filled, seeded
from attention_ref.vectors.build.recipe_config import configured

_SHAPES = {
    "sinusoidal_positions": {"positions": "l"},
    "rotate": {"array": "bhqd", "positions": "q"},
    "alibi_bias": {},
    "relative_bias": {"table": "uh"},
    "linear": {"array": "bqm", "kernel": "mf", "bias": "f"},
    "layer_norm": {"array": "bqm", "gain": "m", "bias": "m"},
    "rms_norm": {"array": "bqm", "gain": "m"},
    "activate": {"array": "m"},
    "MultiHeadAttention": {"query": "bqm", "key": "bkc", "value": "bkc"},
    "FeedForward": {"array": "bqm"},
    "Block": {"array": "bqm", "memory": "bkc"},
    "Transformer": {"source": "bq", "target": "bt"},
}
"""What each operation is given, in order, and its shape unless the recipe names one."""

_GIVEN_WHERE_NAMED = {"bias", "key", "value", "memory", "target"}
_PER_ROW = ("key_lengths", "lengths", "target_lengths", "memory_lengths", "query_offset")
_INTEGERS = (*_PER_ROW, "positions", "types")
_BOOLEANS = ("mask", "memory_mask")
_AMPLITUDES = {"kernel": 0.5, "bias": 1, "embedding": 1, "table": 2, "logit": 2}


def recipe(
    operation: str, case_id: str, document: Mapping[str, Any], table: Mapping[str, Any], seed: int = 0
) -> recipes.Recipe:
    """Make the recipe of a case; the seed 0 is that of the vectors."""
    hashed = seeded(case_id, seed)
    config = configured(operation, document.get("config", {}), table.get("config", {}))
    sizes = {**_sizes(config), **document["sizes"], **table.get("sizes", {})}
    inputs = {
        name: filled(hashed, name, shape, dtype, inner)
        for name, shape, dtype, inner in _arrays(operation, config, sizes, table)
    }
    return recipes.Recipe(
        **recipes.described(operation, case_id, table),
        inputs=inputs,
        gradient=False,
        config=config,
        parameters=dict(_parameters(hashed, config, table.get("parameters", {}))),
        chunks=tuple(tuple(chunk) for chunk in table.get("chunks", ())),
    )


def _sizes(config: Record | None) -> dict[str, int]:
    """The letters that a configuration knows."""
    if isinstance(config, ModelConfig):
        return {"m": config.last_stack.model, "h": config.last_stack.blocks[0].attention.heads}
    if isinstance(config, BlockConfig):
        memory = config.cross_attention.sizes.memory if config.cross_attention is not None else config.model
        return {**_sizes(config.attention), "c": memory}
    if isinstance(config, AttentionConfig):
        sizes = config.sizes
        return {"m": config.model, "c": sizes.memory, "h": sizes.heads, "g": sizes.groups, "d": sizes.head}
    if isinstance(config, FeedForwardConfig):
        return {"m": config.model, "f": config.hidden}
    return {"u": config.buckets} if isinstance(config, RelativeBias) else {}


def _arrays(
    operation: str, config: Record | None, sizes: Mapping[str, Any], table: Mapping[str, Any]
) -> Iterator[tuple[str, list[int], str, Mapping[str, Any]]]:
    """Give the name, shape, dtype and table of every array of a case."""
    shapes = _SHAPES[operation]
    others = [name for name in (*_BOOLEANS, "bias", *_INTEGERS) if name not in shapes]
    for name in (*shapes, *others):
        is_given = name in table or (name in shapes and name not in _GIVEN_WHERE_NAMED)
        if is_given or _is_read(name, config):
            dtype = "bool" if name in _BOOLEANS else "integer" if name in _INTEGERS else "real"
            inner = table.get(name, {})
            stack = _stack_of(name, config)
            if stack is not None and stack.embedding.vocab is not None:
                dtype, inner = "integer", {"below": stack.embedding.vocab, **inner}
            yield name, _shape(name, stack, shapes.get(name), sizes, inner), dtype, inner


def _is_read(name: str, config: Record | None) -> bool:
    """Say whether an array is needed because of the configuration."""
    is_pair = isinstance(config, ModelConfig) and config.kind == "encoder-decoder"
    crosses = isinstance(config, BlockConfig) and config.cross_attention is not None
    return (name == "memory" and crosses) or (name == "target" and is_pair)


def _stack_of(name: str, config: Record | None) -> StackConfig | None:
    """The stack that reads an array."""
    if not isinstance(config, ModelConfig) or name not in ("source", "target"):
        return None
    return config.last_stack if name == "target" else config.encoder_stack or config.decoder_stack


def _shape(
    name: str, stack: StackConfig | None, letters: str | None, sizes: Mapping[str, Any], inner: Mapping[str, Any]
) -> list[int]:
    if "shape" in inner:
        return recipes.sized(inner["shape"], sizes)
    if name in _PER_ROW:
        return recipes.sized("b", sizes)
    if stack is not None:
        return [*recipes.sized("b", sizes), *_source_sizes(stack.embedding, stack.model, sizes, letters)]
    if "values" in inner and name in ("positions", "array"):
        return [len(inner["values"])]
    return recipes.sized(letters if letters is not None else "bq", sizes)


def _source_sizes(embedding: EmbeddingConfig, model: int, sizes: Mapping[str, Any], letters: str | None) -> list[int]:
    if embedding.patches is not None:
        return [embedding.patches.height, embedding.patches.width, embedding.patches.channels]
    length = recipes.sized((letters or "bq")[1:], sizes)
    if embedding.audio is not None:
        return [*length, embedding.audio.channels]
    return length if embedding.vocab is not None else [*length, model]


def _parameters(case_id: str, config: Record | None, tables: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Fill the parameters of a layer."""
    if not isinstance(config, (AttentionConfig, FeedForwardConfig, BlockConfig, ModelConfig)):
        return
    known = tree(config)
    if unknown := set(tables) - set(known):
        raise ValueError(f"{case_id} has no parameters {', '.join(sorted(unknown))}")
    for name, parameter in known.items():
        inner = {**_usual(parameter), **tables.get(name, {})}
        yield name, filled(case_id, name, parameter.shape, "real", inner)


def _usual(parameter: Parameter) -> dict[str, Any]:
    """Say how a parameter is filled; gains lie about where they start."""
    if parameter.kind == "gain":
        return {"around": parameter.start, "amplitude": 0.5}
    return {"amplitude": _AMPLITUDES[parameter.kind]}
