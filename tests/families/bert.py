"""BERT, RoBERTa and DistilBERT."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm
from tests.families.family import ACTIVATIONS, Family


def head(config: Any, kind: str, activation: str, norm: Norm) -> HeadConfig | None:
    """What reads the encoder: masked tokens, the first place, every place, or nothing."""
    if kind == "masked":
        tied = config.tie_word_embeddings
        size = config.vocab_size
        return HeadConfig(kind="language", size=size, bias=True, tied=tied, transform=activation, norm=norm)
    if kind == "places":
        return HeadConfig(kind="language", size=config.num_labels, bias=True)
    if kind == "classifier":
        return HeadConfig(kind="classifier", size=config.num_labels, bias=True, transform=activation)
    return HeadConfig(kind="pooler", size=config.hidden_size, bias=True) if kind == "pooler" else None


def bert(config: Any, kind: str = "none") -> ModelConfig:
    """BERT; RoBERTa too, whose positions start behind the padding token's."""
    norm = Norm("layer", eps=config.layer_norm_eps)
    activation = ACTIVATIONS[config.hidden_act]
    offset = config.pad_token_id + 1 if config.model_type == "roberta" else 0
    block = BlockConfig(
        attention=AttentionConfig(model=config.hidden_size, heads=config.num_attention_heads),
        feedforward=FeedForwardConfig(model=config.hidden_size, hidden=config.intermediate_size, activation=activation),
        norm=norm,
        order="post",
    )
    embedding = EmbeddingConfig(
        vocab=config.vocab_size,
        types=config.type_vocab_size,
        positions=Learned(length=config.max_position_embeddings - offset, offset=offset),
        positions_skip=config.pad_token_id if offset else None,
        norm=norm,
    )
    # RoBERTa's masked-token head has GELU whatever the activation of its blocks
    masked = "gelu" if config.model_type == "roberta" else activation
    return ModelConfig(
        encoder_stack=StackConfig(embedding=embedding, blocks=(block,) * config.num_hidden_layers),
        head=head(config, kind, "tanh" if kind == "classifier" else masked, norm),
    )


def causal(config: Any) -> ModelConfig:
    """The same as a language model; positions are still counted without padding."""
    masked = bert(config, "masked")
    stack = masked.encoder_stack
    attention = replace(stack.blocks[0].attention, causal=True)
    blocks = tuple(replace(block, attention=attention) for block in stack.blocks)
    return ModelConfig(decoder_stack=replace(stack, blocks=blocks), head=masked.head)


def distilbert(config: Any, kind: str = "none") -> ModelConfig:
    norm = Norm("layer", eps=1e-12)
    activation = ACTIVATIONS[config.activation]
    block = BlockConfig(
        attention=AttentionConfig(model=config.dim, heads=config.n_heads),
        feedforward=FeedForwardConfig(model=config.dim, hidden=config.hidden_dim, activation=activation),
        norm=norm,
        order="post",
    )
    positions = Learned(length=config.max_position_embeddings)  # `sinusoidal_pos_embds` only says how they begin
    embedding = EmbeddingConfig(vocab=config.vocab_size, positions=positions, norm=norm)
    return ModelConfig(
        encoder_stack=StackConfig(embedding=embedding, blocks=(block,) * config.n_layers),
        head=head(config, kind, "relu" if kind == "classifier" else activation, norm),
    )


STACK = {
    "encoder.embedding.token": "embeddings.word_embeddings.weight",
    "encoder.embedding.position": "embeddings.position_embeddings.weight",
    "encoder.embedding.token_type": "embeddings.token_type_embeddings.weight",
    "encoder.embedding.norm": "embeddings.LayerNorm",
    "encoder.blocks.*.self_attention.query": "encoder.layer.*.attention.self.query",
    "encoder.blocks.*.self_attention.key": "encoder.layer.*.attention.self.key",
    "encoder.blocks.*.self_attention.value": "encoder.layer.*.attention.self.value",
    "encoder.blocks.*.self_attention.output": "encoder.layer.*.attention.output.dense",
    "encoder.blocks.*.self_attention_norm": "encoder.layer.*.attention.output.LayerNorm",
    "encoder.blocks.*.feedforward.input": "encoder.layer.*.intermediate.dense",
    "encoder.blocks.*.feedforward.output": "encoder.layer.*.output.dense",
    "encoder.blocks.*.feedforward_norm": "encoder.layer.*.output.LayerNorm",
}

DISTILBERT_STACK = {
    "encoder.embedding.token": "embeddings.word_embeddings.weight",
    "encoder.embedding.position": "embeddings.position_embeddings.weight",
    "encoder.embedding.norm": "embeddings.LayerNorm",
    "encoder.blocks.*.self_attention.query": "transformer.layer.*.attention.q_lin",
    "encoder.blocks.*.self_attention.key": "transformer.layer.*.attention.k_lin",
    "encoder.blocks.*.self_attention.value": "transformer.layer.*.attention.v_lin",
    "encoder.blocks.*.self_attention.output": "transformer.layer.*.attention.out_lin",
    "encoder.blocks.*.self_attention_norm": "transformer.layer.*.sa_layer_norm",
    "encoder.blocks.*.feedforward.input": "transformer.layer.*.ffn.lin1",
    "encoder.blocks.*.feedforward.output": "transformer.layer.*.ffn.lin2",
    "encoder.blocks.*.feedforward_norm": "transformer.layer.*.output_layer_norm",
}

HEADS = {
    "BertModel": {"head.pooler": "pooler.dense"},
    "BertForMaskedLM": {
        "head.transform": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
        "head": "cls.predictions.decoder",
    },
    "BertForSequenceClassification": {"head.transform": "bert.pooler.dense", "head": "classifier"},
    "BertForTokenClassification": {"head": "classifier"},
    "RobertaForMaskedLM": {
        "head.transform": "lm_head.dense",
        "head.norm": "lm_head.layer_norm",
        "head": "lm_head.decoder",
    },
    "RobertaForSequenceClassification": {"head.transform": "classifier.dense", "head": "classifier.out_proj"},
    "RobertaForCausalLM": {
        "head.transform": "lm_head.dense",
        "head.norm": "lm_head.layer_norm",
        "head": "lm_head.decoder",
    },
    "DistilBertModel": {},
    "DistilBertForMaskedLM": {
        "head.transform": "vocab_transform",
        "head.norm": "vocab_layer_norm",
        "head": "vocab_projector",
    },
    "DistilBertForSequenceClassification": {"head.transform": "pre_classifier", "head": "classifier"},
}

_BERT = {
    "vocab_size": 19,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 9,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-2,
    "num_labels": 3,
}
_ROBERTA = {**_BERT, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1}
_DISTILBERT = {
    "vocab_size": 19,
    "dim": 8,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 12,
    "max_position_embeddings": 9,
    "num_labels": 3,
}


def _case(
    name: str, model: str, options: dict[str, Any], kind: str, output: str = "logits", ignored: tuple[str, ...] = ()
) -> Family:
    prefix = "" if model.endswith("Model") else f"{name.split('-', maxsplit=1)[0]}."
    is_distilled = model.startswith("Distil")
    table = DISTILBERT_STACK if is_distilled else STACK
    prefixed = {ours: prefix + theirs for ours, theirs in table.items()} | HEADS[model]
    inputs = "tokens" if is_distilled or kind == "causal" else "segments"
    if kind == "causal":
        prefixed = {ours.replace("encoder", "decoder", 1): theirs for ours, theirs in prefixed.items()}
        return Family(name, model, options, causal, prefixed, inputs)
    configure = distilbert if is_distilled else bert
    ours = partial(configure, kind=kind)
    return Family(name, model, options, ours, prefixed, inputs, output, ignored=ignored)


FAMILIES = (
    _case("bert", "BertModel", _BERT, "pooler", "pooler_output"),
    _case("bert-masked", "BertForMaskedLM", {**_BERT, "hidden_act": "relu"}, "masked"),
    _case(
        "bert-untied",
        "BertForMaskedLM",
        {**_BERT, "tie_word_embeddings": False},
        "masked",
        ignored=("cls.predictions.bias",),
    ),
    _case("bert-classifier", "BertForSequenceClassification", _BERT, "classifier"),
    _case("bert-places", "BertForTokenClassification", {**_BERT, "hidden_act": "gelu_new"}, "places"),
    _case("roberta-masked", "RobertaForMaskedLM", {**_ROBERTA, "hidden_act": "silu"}, "masked"),
    _case("roberta-causal", "RobertaForCausalLM", {**_ROBERTA, "is_decoder": True}, "causal"),
    _case("roberta-classifier", "RobertaForSequenceClassification", _ROBERTA, "classifier"),
    _case("distilbert", "DistilBertModel", {**_DISTILBERT, "activation": "relu"}, "none", "last_hidden_state"),
    _case("distilbert-masked", "DistilBertForMaskedLM", {**_DISTILBERT, "activation": "relu"}, "masked"),
    _case(
        "distilbert-classifier",
        "DistilBertForSequenceClassification",
        {**_DISTILBERT, "sinusoidal_pos_embds": True},
        "classifier",
    ),
)
