"""BART (Lewis et al., 2019), mBART (Liu et al., 2020) and Marian (Junczys-Dowmunt et al., 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm, Sinusoid
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Architecture, Layout, Table, within
from attention_ref.weights.layouts.parts import DECODER, ENCODER, MASKS, attention_names, layers
from attention_ref.weights.layouts.rules import Leading

NORM = Norm("layer", eps=1e-5)


def block(values: Values, side: str, order: Any, **attention: Any) -> BlockConfig:
    """A block of the encoder or the decoder."""
    heads, hidden = getattr(values, f"{side}_attention_heads"), getattr(values, f"{side}_ffn_dim")
    own = AttentionConfig(model=values.d_model, heads=heads, **attention)
    feedforward = FeedForwardConfig(model=values.d_model, hidden=hidden, activation=values.activation_function)
    encoding = BlockConfig(attention=own, feedforward=feedforward, norm=NORM, order=order)
    if side == "encoder":
        return encoding
    return replace(encoding, attention=replace(own, causal=True), cross_attention=own)


def stacks(
    values: Values, order: Any, encoder: EmbeddingConfig, decoder: EmbeddingConfig, **attention: Any
) -> dict[str, Any]:
    """Both stacks; with norms before the sublayers each ends with one."""

    def stack(side: str, embedding: EmbeddingConfig) -> StackConfig:
        blocks = (block(values, side, order, **attention),) * getattr(values, f"{side}_layers")
        return StackConfig(embedding=embedding, blocks=blocks, norm=NORM if order == "pre" else None)

    return {"encoder_stack": stack("encoder", encoder), "decoder_stack": stack("decoder", decoder)}


def bart(values: Values, kind: str, order: Any = "post") -> ModelConfig:
    """The configuration of BART."""
    positions = Learned(length=values.max_position_embeddings, offset=2)
    embedding = EmbeddingConfig(vocab=values.vocab_size, positions=positions, scale=_scale(values), norm=NORM)
    tied = values.tie_word_embeddings
    head = _head(kind, values.vocab_size, values.num_labels, tied)
    return ModelConfig(**stacks(values, order, embedding, embedding), head=head, shared_embedding=tied)


def mbart(values: Values, kind: str) -> ModelConfig:
    """The configuration of mBART: norms before the sublayers."""
    return bart(values, kind, "pre")


def marian(values: Values, kind: str) -> ModelConfig:
    """The configuration of Marian; two languages may have a vocabulary each."""
    positions = Sinusoid(variant="concatenated")
    encoder = EmbeddingConfig(vocab=values.vocab_size, positions=positions, scale=_scale(values))
    is_shared, size = values.share_encoder_decoder_embeddings, values.vocab_size
    size = size if values.decoder_vocab_size is None else values.decoder_vocab_size
    if is_shared and size != values.vocab_size:
        raise ValueError(f"decoder_vocab_size is {size} and vocab_size {values.vocab_size}, with shared embeddings")
    if is_shared and not values.tie_word_embeddings:
        raise ValueError("tie_word_embeddings is False, with share_encoder_decoder_embeddings; it is not supported")
    pair = stacks(values, "post", encoder, replace(encoder, vocab=size))
    head = _head(kind, size, values.num_labels, values.tie_word_embeddings)
    return ModelConfig(**pair, head=head, shared_embedding=is_shared)


def _head(kind: str, vocab: int, labels: int, tied: bool) -> HeadConfig | None:
    if kind == "language":
        return HeadConfig(kind="language", size=vocab, bias=True, tied=tied)
    if kind == "classifier":  # it reads the last end token of the target, which is the last real one
        return HeadConfig(kind="classifier", size=labels, bias=True, transform="tanh", place="last")
    return None


def _scale(values: Values) -> float:
    return float(values.d_model**0.5) if values.scale_embedding else 1.0


def is_scaled(config: ModelConfig) -> Any:
    """Whether the embedding is scaled."""
    stack = config.encoder_stack
    return ABSENT if stack is None else stack.embedding.scale != 1.0


def sizes(activation: Any = "gelu") -> Keys:
    """The keys of the sizes of both stacks."""
    parts = {"layers": None, "attention_heads": "attention.heads", "ffn_dim": "feedforward.hidden"}
    pair = {"encoder": ENCODER, "decoder": DECODER}
    keys: dict[str, Key | NoEffect | Only] = {
        f"{side}_{name}": layers(stack) if path is None else Key(f"{stack}.blocks.0.{path}")
        for side, stack in pair.items()
        for name, path in parts.items()
    }
    return {
        **keys,
        "d_model": Key(f"{ENCODER}.blocks.0.attention.model"),
        "activation_function": Key(f"{ENCODER}.blocks.0.feedforward.activation", activation, ACTIVATIONS),
        "num_hidden_layers": NoEffect("encoder_layers and decoder_layers say it"),
    }


def _keys(is_pre: bool, has_norm: bool, is_static: bool) -> Keys:
    return {
        **sizes(),
        "vocab_size": Key(f"{ENCODER}.embedding.vocab"),
        "scale_embedding": Key(is_scaled, False),
        "tie_word_embeddings": Key(is_tied, True),
        "normalize_before": Only(is_pre),
        "add_final_layer_norm": Only(is_pre),
        "normalize_embedding": Only(has_norm),
        "static_position_embeddings": Only(is_static),
        "add_bias_logits": NoEffect("the bias is in the file in any case"),
        "extra_pos_embeddings": NoEffect("the offset of the positions is always 2"),
        "gradient_checkpointing": NoEffect("it acts in training only"),
    }


def is_tied(config: ModelConfig) -> Any:
    """Whether the head, or the embedding of the decoder, is the embedding of the encoder."""
    if config.head is not None and config.head.kind == "language":
        return config.head.tied
    return config.shared_embedding


POSITIONS: Keys = {"max_position_embeddings": Key(f"{ENCODER}.embedding.positions.length")}
MARIAN_KEYS: Keys = {
    **_keys(is_pre=False, has_norm=False, is_static=True),
    "decoder_vocab_size": Key(f"{DECODER}.embedding.vocab", None),
    "share_encoder_decoder_embeddings": Key("shared_embedding", True),
    "max_position_embeddings": NoEffect("sines and cosines have no end"),
    "pad_token_id": NoEffect("it says what a token means", written=0),
    "decoder_start_token_id": NoEffect("it says how a text begins", written=0),
    "eos_token_id": NoEffect("it says what a token means", written=0),
}

ATTENTION = attention_names("q_proj", "k_proj", "v_proj", "out_proj")
ENCODER_TABLE: Table = {
    "embedding.norm": "layernorm_embedding",
    "embedding.position": "embed_positions.weight",
    **within("blocks.*.self_attention", "layers.*.self_attn", ATTENTION),
    "blocks.*.self_attention_norm": "layers.*.self_attn_layer_norm",
    "blocks.*.feedforward.input": "layers.*.fc1",
    "blocks.*.feedforward.output": "layers.*.fc2",
    "blocks.*.feedforward_norm": "layers.*.final_layer_norm",
    "norm": "layer_norm",
}
DECODER_TABLE: Table = {
    **ENCODER_TABLE,
    **within("blocks.*.cross_attention", "layers.*.encoder_attn", ATTENTION),
    "blocks.*.cross_attention_norm": "layers.*.encoder_attn_layer_norm",
}


def table(config: ModelConfig) -> Table:
    """The tensors of both stacks: with one embedding, or two."""
    return {
        "encoder.embedding.token": "shared.weight" if config.shared_embedding else "encoder.embed_tokens.weight",
        "decoder.embedding.token": "decoder.embed_tokens.weight",
        **within("encoder", "encoder", ENCODER_TABLE),
        **within("decoder", "decoder", DECODER_TABLE),
    }


def _sinusoid(shape: tuple[int, ...]) -> Any:
    """Sines of all frequencies, then cosines, as `sinusoidal_positions` with `concatenated`."""
    length, model = shape
    rates = 10000.0 ** (-2.0 * np.arange(model // 2) / model)
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


LANGUAGE: Table = {"head.kernel": "lm_head.weight", "head.bias": Leading("final_logits_bias")}
CLASSIFIER: Table = {"head.transform": "classification_head.dense", "head": "classification_head.out_proj"}
COPIES = {"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"}
_UNUSED = {r"shared\.weight": "an embedding that is not shared and so not used"}


def classes(name: str, causal: str = "ForConditionalGeneration") -> dict[str, Architecture]:
    """The classes of a family by name."""
    unused = {r"lm_head\.weight|final_logits_bias": "the head of a language model, which this class does not have"}
    within_model = {"model.shared.weight": "model.encoder.embed_tokens.weight"} if name != "Marian" else {}
    alone = {theirs.removeprefix("model."): ours.removeprefix("model.") for theirs, ours in within_model.items()}
    return {
        f"{name}{causal}": Architecture("language", LANGUAGE, "model.", _UNUSED, fillers=within_model),
        f"{name}ForSequenceClassification": Architecture(
            "classifier", CLASSIFIER, "model.", {**_UNUSED, **unused}, fillers=within_model
        ),
        f"{name}Model": Architecture("none", unused={**_UNUSED, **unused}, fillers=alone),
    }


_MARIAN_CLASSES = {n: each for n, each in classes("Marian", "MTModel").items() if each.kind != "classifier"}
_COMPUTED = {f"{side}.embed_positions.weight": _sinusoid for side in ("encoder", "decoder")}
BART_KEYS: Keys = {**_keys(is_pre=False, has_norm=True, is_static=False), **POSITIONS}
MBART_KEYS: Keys = {**_keys(is_pre=True, has_norm=True, is_static=False), **POSITIONS}

LAYOUTS = (
    Layout("bart", BART_KEYS, bart, table, classes("Bart"), duplicates=COPIES, unused=MASKS),
    Layout("mbart", MBART_KEYS, mbart, table, classes("MBart"), duplicates=COPIES, unused=MASKS),
    Layout("marian", MARIAN_KEYS, marian, table, _MARIAN_CLASSES, duplicates=COPIES, computed=_COMPUTED),
)
