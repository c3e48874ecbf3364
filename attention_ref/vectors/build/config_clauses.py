"""Derive the clauses that the outcome of a configured operation depends on from its configuration and inputs.

A recipe adds clauses that cannot be derived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.clauses import clauses
from attention_ref.spec.config import (
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    LatentAttentionConfig,
    Learned,
    MixtureConfig,
    Norm,
    RelativeBias,
    Rotary,
    Sinusoid,
)
from attention_ref.spec.records import Record
from attention_ref.vectors.build.recipe import Recipe
from attention_ref.vectors.call import Call

Named = Iterator[str]


def clauses_of(recipe: Recipe) -> list[str]:
    """Return the ids of the clauses that decide the outcome, in the order of `clauses.toml`."""
    found = {*recipe.clauses, *_of_call(recipe.call), *_of_records(recipe.call.config)}
    if unknown := found - set(clauses()):
        raise ValueError(f"{recipe.id} names clauses that do not exist: {', '.join(sorted(unknown))}")
    return [name for name in clauses() if name in found]


def _of_records(item: Any) -> Named:
    """Return the clauses of a record and of all records inside it."""
    if isinstance(item, tuple):
        for inner in item:
            yield from _of_records(inner)
    if isinstance(item, Record):
        yield from _OF_RECORD.get(type(item), lambda _: iter(()))(item)
        for field in fields(item):  # type: ignore[arg-type]
            yield from _of_records(getattr(item, field.name))


def _of_call(call: Call) -> Named:
    """Return the clauses of an operation and of its arguments."""
    operation, options, table = call.operation, call.options, call.table
    given = (name for name, value in call.given.items() if table.says(name, value))
    yield from filter(None, (table[name].clause for name in given))
    if operation in ("layer_norm", "rms_norm"):
        offset = options.get("gain_offset", 0.0)
        yield from _norm(Norm("rms" if operation == "rms_norm" else "layer", options["eps"], gain_offset=offset))
    if operation == "activate":
        yield f"activations.{options['name'].replace('_', '-')}"
    if operation == "alibi_bias":
        yield from _alibi(options["heads"])
    if table.is_layer and call.chunks:
        yield from ("multihead.cache", "attention.query-offset", "attention.key-lengths")
        if any(isinstance(config, LatentAttentionConfig) for config in _own_attentions(call.config)):
            yield "latent.cache"
    if table.is_layer:
        yield from _of_attention(call)


def _of_attention(call: Call) -> Named:
    """Return the clauses of combined arguments of the attention layers of a call."""
    crosses = [block.cross_attention for block in _blocks(call.config) if block.cross_attention is not None]
    rules = [bool({"key_lengths", "lengths"} & set(call.inputs)), "mask" in call.inputs, bool(call.chunks)]
    if any(sum([*rules, *_hiding(config)]) > 1 for config in _own_attentions(call.config)):
        yield "multihead.visibility"
    if call.operation == "Block" and crosses and "mask" in call.inputs:
        yield "block.memory-rules"
    if call.chunks and any(map(_reads_positions, crosses)):
        yield "block.memory-positions"


def _own_attentions(config: Any) -> list[AttentionConfig | LatentAttentionConfig]:
    """Return the self-attentions of a layer or model, or the attention that the layer is."""
    if isinstance(config, AttentionConfig | LatentAttentionConfig):
        return [config]
    return [block.attention for block in _blocks(config)]


def _hiding(config: AttentionConfig | LatentAttentionConfig) -> tuple[bool, ...]:
    """Return which of the rules of visibility a configuration has."""
    return (config.causal, isinstance(config, AttentionConfig) and config.window is not None)


def _blocks(config: Any) -> Iterator[BlockConfig]:
    if isinstance(config, BlockConfig):
        yield config
    if isinstance(config, ModelConfig):
        yield from (block for stack in (config.encoder_stack, config.decoder_stack) if stack for block in stack.blocks)


def _reads_positions(config: AttentionConfig) -> bool:
    """Return whether the result of an attention layer depends on the positions of its queries."""
    distance = config.alibi or config.relative_bias is not None
    return distance or config.rotary is not None or config.causal or config.window is not None


def _norm(norm: Norm) -> Named:
    yield from (f"norms.{norm.kind}", "norms.eps")
    if norm.kind == "layer":
        yield "norms.variance"
    if norm.gain_offset:
        yield "norms.gain-offset"
    if not norm.gain:
        yield "norms.no-gain"


def _sinusoid(config: Sinusoid) -> Named:
    yield f"positions.{config.variant}"
    if config.offset:
        yield "positions.sinusoid-offset"


def _learned(config: Learned) -> Named:
    yield "positions.learned"
    if config.offset:
        yield "positions.learned-offset"


def _rotary(config: Rotary) -> Named:
    yield from ("positions.rotary", "positions.rotary-interleaved" if config.interleaved else "positions.rotary-halves")
    if config.dimension is not None:
        yield "positions.rotary-partial"
    if config.scaling is not None:
        yield f"positions.rotary-{config.scaling.kind}"
        if not config.scaling.truncate:
            yield "positions.rotary-truncate"


def _alibi(heads: int) -> Named:
    yield "positions.alibi"
    if heads & (heads - 1):
        yield "positions.alibi-slopes"


def _relative(config: RelativeBias) -> Named:
    yield "positions.relative"
    if not config.bidirectional:
        yield "positions.relative-one-sided"


def _attention(config: AttentionConfig) -> Named:
    given = {
        "attention.causal": config.causal,
        "attention.window": config.window is not None,
        "attention.scale": config.scale is not None,
        "attention.softcap": config.softcap is not None,
        "attention.sinks": config.sinks,
        "attention.heads": config.sizes.groups != config.heads,
        "multihead.groups": config.sizes.groups != config.heads,
        "multihead.sizes": bool(config.head_size or config.value_size or config.output_size),
        "multihead.biases": any((config.query_bias, config.key_bias, config.value_bias, config.output_bias)),
        "multihead.value-memory": config.value_memory_size is not None,
        "multihead.trained-key": config.trained_key_value,
        "multihead.clip": config.clip is not None,
        "multihead.alibi-factor": config.alibi_factor != 1,
        "multihead.query-key-norm": config.query_key_norm is not None,
        "multihead.norm-separate": config.query_key_norm_heads == "separate",
        "multihead.norm-joint": config.query_key_norm_heads == "joint",
        "multihead.rotary": config.rotary is not None,
        "multihead.distance": config.alibi or config.relative_bias is not None,
    }
    yield from (name for name, is_given in given.items() if is_given)
    if config.alibi:
        yield from _alibi(config.heads)


def _latent(config: LatentAttentionConfig) -> Named:
    yield from ("latent.norm", "latent.rotary-key", "latent.rotary-part")
    given = {
        "attention.causal": config.causal,
        "attention.scale": config.scale is not None,
        "latent.scale": config.scale is None,
        "latent.query-latent": config.query_latent_size is not None,
        "latent.biases": config.latent_bias or config.output_bias,
        "latent.mscale": config.mscale > 0,
    }
    yield from (name for name, is_given in given.items() if is_given)


def _feedforward(config: FeedForwardConfig) -> Named:
    yield f"activations.{config.activation.replace('_', '-')}"
    if config.gated:
        yield "feedforward.gated"
    if config.input_bias or config.output_bias:
        yield "feedforward.biases"
    if config.clip is not None:
        yield "feedforward.clip"
    if config.input_offset:
        yield "feedforward.input-offset"


def _mixture(config: MixtureConfig) -> Named:
    given = {
        f"mixture.{config.scores}": not (config.normalised and config.chosen == 1),
        "mixture.normalised": config.normalised and config.chosen > 1,
        "mixture.not-normalised": not config.normalised,
        "mixture.scale": config.scale != 1.0,
        "mixture.router-bias": config.router_bias,
        "mixture.correction": config.correction_bias,
        "mixture.groups": config.chosen_groups is not None,
        "mixture.group-sum": config.group_score == "two_largest",
        "mixture.shared": config.shared is not None,
        "mixture.shared-gate": config.shared_gate,
    }
    yield from (name for name, is_given in given.items() if is_given)


def _block(config: BlockConfig) -> Named:
    yield f"block.{config.order}"
    if config.shared_norm:
        yield "block.shared-norm"
    if config.residual == "norm":
        yield "block.residual-norm"
    if not config.self_attention_norm:
        yield "block.no-first-norm"
    if config.cross_attention is not None:
        yield "block.cross"
    network = config.feedforward
    networks = (network.expert, network.shared) if isinstance(network, MixtureConfig) else (network,)
    if any(part.dropout for part in (config, config.attention, *networks) if part is not None):
        yield "block.inference"


def _embedding(config: EmbeddingConfig) -> Named:
    given = {
        "model.embedding-scale": config.scale != 1.0,
        "model.embedding-norm": config.norm is not None,
        "model.embedding-projection": config.size is not None and config.projected == "sum",
        "model.token-projection": config.size is not None and config.projected == "tokens",
        "model.types": config.types > 0,
        "model.patches": config.patches is not None,
        "model.audio": config.audio is not None,
        "positions.skip": config.positions_skip is not None,
        "positions.skip-sinusoid": config.positions_skip is not None and isinstance(config.positions, Sinusoid),
        "model.distillation-token": config.patches is not None and config.patches.distillation_token,
    }
    yield from (name for name, is_given in given.items() if is_given)


def _stack(config: StackConfig) -> Named:
    if len(config.blocks) > 1:
        yield "model.depth"
    if config.norm is not None:
        yield "model.final-norm"
    if config.relative_bias is not None:
        yield "model.relative-bias"


def _head(config: HeadConfig) -> Named:
    given = {
        "model.head-bias": config.bias,
        "model.head-scale": config.scale != 1.0,
        "model.head-softcap": config.softcap is not None,
        "model.head-transform": config.transform is not None,
        "model.tied-head": config.tied,
        "model.one-place": config.kind != "language",
        "model.last-place": config.kind != "language" and config.place == "last",
    }
    yield from (name for name, is_given in given.items() if is_given)
    if config.kind == "pooler":
        yield "activations.tanh"
    if config.transform not in (None, "identity"):
        yield f"activations.{config.transform.replace('_', '-')}"


def _model(config: ModelConfig) -> Named:
    if config.kind == "encoder-decoder":
        yield "model.encoder-decoder"
    if config.shared_embedding:
        yield "model.shared-embedding"


_OF_RECORD: Mapping[type, Callable[[Any], Named]] = {
    Norm: _norm,
    Sinusoid: _sinusoid,
    Learned: _learned,
    Rotary: _rotary,
    RelativeBias: _relative,
    AttentionConfig: _attention,
    LatentAttentionConfig: _latent,
    FeedForwardConfig: _feedforward,
    MixtureConfig: _mixture,
    BlockConfig: _block,
    EmbeddingConfig: _embedding,
    StackConfig: _stack,
    HeadConfig: _head,
    ModelConfig: _model,
}
