"""BERT (Devlin et al., 2018) and RoBERTa (Liu et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm
from attention_ref.weights.layouts.config_keys import (
    ABSENT,
    ACTIVATIONS,
    MOST_LAYERS,
    Key,
    Keys,
    NoEffect,
    Only,
    Values,
)
from attention_ref.weights.layouts.layout import Architecture, Layout, Table
from attention_ref.weights.layouts.parts import MASKS, TIED

NEXT = "the head that says whether two sentences follow each other, which this class does not have"
POOLER = "the pooler, which this class does not have"


def bert(values: Values, kind: str) -> ModelConfig:
    """The configuration of BERT."""
    norm = Norm("layer", eps=values.layer_norm_eps)
    positions = Learned(length=values.max_position_embeddings)
    embedding = EmbeddingConfig(vocab=values.vocab_size, types=values.type_vocab_size, positions=positions, norm=norm)
    own = head(values, kind, "tanh" if kind == "classifier" else values.hidden_act, norm)
    return ModelConfig(encoder_stack=stack(values, embedding, norm, causal=False), head=own)


def roberta(values: Values, kind: str) -> ModelConfig:
    """The configuration of RoBERTa, whose positions start behind the padding token's and are counted without padding;
    its masked-token head has GELU whatever the activation of its blocks.
    """
    norm, offset = Norm("layer", eps=values.layer_norm_eps), values.pad_token_id + 1
    embedding = EmbeddingConfig(
        vocab=values.vocab_size,
        types=values.type_vocab_size,
        positions=Learned(length=values.max_position_embeddings - offset, offset=offset),
        positions_skip=values.pad_token_id,
        norm=norm,
    )
    own = head(values, kind, "tanh" if kind == "classifier" else "gelu", norm)
    if values.is_decoder is not (kind == "causal"):
        raise ValueError(f"is_decoder is {values.is_decoder}, which this class does not compute")
    blocks = stack(values, embedding, norm, causal=kind == "causal")
    return (
        ModelConfig(decoder_stack=blocks, head=own) if kind == "causal" else ModelConfig(encoder_stack=blocks, head=own)
    )


def stack(values: Values, embedding: EmbeddingConfig, norm: Norm, causal: bool) -> StackConfig:
    """The blocks of BERT behind an embedding."""
    model = values.hidden_size
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=values.num_attention_heads, causal=causal),
        feedforward=FeedForwardConfig(model=model, hidden=values.intermediate_size, activation=values.hidden_act),
        norm=norm,
        order="post",
    )
    return StackConfig(embedding=embedding, blocks=(block,) * values.num_hidden_layers)


def head(values: Values, kind: str, activation: Any, norm: Norm) -> HeadConfig | None:
    """The head: scores of masked or next tokens, of every position, of the first position, or the pooler."""
    if kind in ("masked", "causal"):
        tied, size = values.tie_word_embeddings, values.vocab_size
        return HeadConfig(kind="language", size=size, bias=True, tied=tied, transform=activation, norm=norm)
    if kind == "places":
        return HeadConfig(kind="language", size=values.num_labels, bias=True)
    if kind == "classifier":
        return HeadConfig(kind="classifier", size=values.num_labels, bias=True, transform=activation)
    return HeadConfig(kind="pooler", size=values.hidden_size, bias=True) if kind == "pooler" else None


def _rows(config: ModelConfig) -> Any:
    positions = config.last_stack.embedding.positions
    return positions.length + positions.offset if isinstance(positions, Learned) else ABSENT


def _padding(config: ModelConfig) -> Any:
    skipped = config.last_stack.embedding.positions_skip
    return ABSENT if skipped is None else skipped


KEYS: Keys = {
    "vocab_size": Key("last_stack.embedding.vocab"),
    "hidden_size": Key("last_stack.blocks.0.attention.model"),
    "num_hidden_layers": Key(lambda config: len(config.last_stack.blocks), largest=MOST_LAYERS),
    "num_attention_heads": Key("last_stack.blocks.0.attention.heads"),
    "intermediate_size": Key("last_stack.blocks.0.feedforward.hidden"),
    "hidden_act": Key("last_stack.blocks.0.feedforward.activation", "gelu", ACTIVATIONS),
    "max_position_embeddings": Key(_rows, 512),
    "type_vocab_size": Key("last_stack.embedding.types", 2),
    "layer_norm_eps": Key("last_stack.blocks.0.norm.eps", 1e-12),
    "tie_word_embeddings": Key(TIED, True),
    "position_embedding_type": Only("absolute"),
}
BERT_KEYS: Keys = {
    **KEYS,
    # a file of BERT may have keys of the pooler that was never built
    **dict.fromkeys(
        (
            "pooler_fc_size",
            "pooler_num_attention_heads",
            "pooler_num_fc_layers",
            "pooler_size_per_head",
            "pooler_type",
            "directionality",
        ),
        NoEffect("no class of BERT reads it"),
    ),
}
ROBERTA_KEYS: Keys = {
    **KEYS,
    "pad_token_id": Key(_padding, 1),
    "is_decoder": Key(lambda config: config.encoder_stack is None, False),
}

_STACK: Table = {
    "embedding.token": "embeddings.word_embeddings.weight",
    "embedding.position": "embeddings.position_embeddings.weight",
    "embedding.token_type": "embeddings.token_type_embeddings.weight",
    "embedding.norm": "embeddings.LayerNorm",
    "blocks.*.self_attention.query": "encoder.layer.*.attention.self.query",
    "blocks.*.self_attention.key": "encoder.layer.*.attention.self.key",
    "blocks.*.self_attention.value": "encoder.layer.*.attention.self.value",
    "blocks.*.self_attention.output": "encoder.layer.*.attention.output.dense",
    "blocks.*.self_attention_norm": "encoder.layer.*.attention.output.LayerNorm",
    "blocks.*.feedforward.input": "encoder.layer.*.intermediate.dense",
    "blocks.*.feedforward.output": "encoder.layer.*.output.dense",
    "blocks.*.feedforward_norm": "encoder.layer.*.output.LayerNorm",
}
TABLE: Table = {f"{side}.{ours}": theirs for side in ("encoder", "decoder") for ours, theirs in _STACK.items()}


def _filled(ties: Mapping[str, str]) -> dict[str, str]:
    """The tensor that nothing reads in a file without ties, and the one that is read instead."""
    return {original: copy for copy, original in ties.items()}


def _bert_masked(config: ModelConfig) -> Table:
    return {
        "head.transform": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
        "head.kernel": "cls.predictions.decoder.weight",
        "head.bias": "cls.predictions.bias" if config.head and config.head.tied else "cls.predictions.decoder.bias",
    }


def _roberta_masked(config: ModelConfig) -> Table:
    return {
        "head.transform": "lm_head.dense",
        "head.norm": "lm_head.layer_norm",
        "head.kernel": "lm_head.decoder.weight",
        "head.bias": "lm_head.bias" if config.head and config.head.tied else "lm_head.decoder.bias",
    }


_COPY = "the bias of a projection that is tied, which this file has not tied"
_BERT_UNUSED = {
    r"cls\.seq_relationship\..*": NEXT,
    r"pooler\.dense\..*": POOLER,
    r"cls\.predictions\.bias": _COPY,
}
_ROBERTA_UNUSED = {r"pooler\.dense\..*": POOLER, r"lm_head\.bias": _COPY}
_BERT_TIES = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
_ROBERTA_TIES = {"lm_head.decoder.bias": "lm_head.bias"}
_PLACES = Architecture("places", {"head": "classifier"}, "bert.", {r"pooler\.dense\..*": POOLER})
_LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

LAYOUTS = (
    Layout(
        "bert",
        BERT_KEYS,
        bert,
        TABLE,
        {
            "BertModel": Architecture(
                "pooler",
                {"head.pooler": "pooler.dense"},
                unused={r"cls\.(seq_relationship|predictions)\..*": "a head, which this class does not have"},
                optional=True,
            ),
            "BertForMaskedLM": Architecture("masked", _bert_masked, "bert.", _BERT_UNUSED, fillers=_filled(_BERT_TIES)),
            "BertForSequenceClassification": Architecture(
                "classifier", {"head.transform": "bert.pooler.dense", "head": "classifier"}, "bert."
            ),
            "BertForTokenClassification": _PLACES,
        },
        duplicates=_BERT_TIES,
        unused=MASKS,
        legacy=_LEGACY,
    ),
    Layout(
        "roberta",
        ROBERTA_KEYS,
        roberta,
        TABLE,
        {
            "RobertaModel": Architecture("pooler", {"head.pooler": "pooler.dense"}, optional=True),
            "RobertaForMaskedLM": Architecture(
                "masked", _roberta_masked, "roberta.", _ROBERTA_UNUSED, fillers=_filled(_ROBERTA_TIES)
            ),
            "RobertaForCausalLM": Architecture(
                "causal", _roberta_masked, "roberta.", _ROBERTA_UNUSED, fillers=_filled(_ROBERTA_TIES)
            ),
            "RobertaForSequenceClassification": Architecture(
                "classifier",
                {"head.transform": "classifier.dense", "head": "classifier.out_proj"},
                "roberta.",
                {r"pooler\.dense\..*": POOLER},
            ),
            "RobertaForTokenClassification": replace(_PLACES, prefix="roberta."),
        },
        duplicates=_ROBERTA_TIES,
        unused=MASKS,
        legacy=_LEGACY,
    ),
)
