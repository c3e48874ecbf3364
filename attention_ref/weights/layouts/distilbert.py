"""DistilBERT (Sanh et al., 2019): BERT with half the blocks, without token types and pooler."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm
from attention_ref.weights.layouts.config_keys import ACTIVATIONS, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Architecture, Layout, Table
from attention_ref.weights.layouts.parts import ENCODER, MASKS, TIED, layers

NORM = Norm("layer", eps=1e-12)
BLOCK = f"{ENCODER}.blocks.0"


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration. The table of positions may have begun as sines and cosines; it is stored in any case."""
    model = values.dim
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=values.n_heads),
        feedforward=FeedForwardConfig(model=model, hidden=values.hidden_dim, activation=values.activation),
        norm=NORM,
        order="post",
    )
    positions = Learned(length=values.max_position_embeddings)
    embedding = EmbeddingConfig(vocab=values.vocab_size, positions=positions, norm=NORM)
    stack = StackConfig(embedding=embedding, blocks=(block,) * values.n_layers)
    return ModelConfig(encoder_stack=stack, head=_head(values, kind))


def _head(values: Values, kind: str) -> HeadConfig | None:
    if kind == "masked":
        options: dict[str, Any] = {"transform": values.activation, "norm": NORM, "tied": values.tie_word_embeddings}
        return HeadConfig(kind="language", size=values.vocab_size, bias=True, **options)
    if kind == "places":
        return HeadConfig(kind="language", size=values.num_labels, bias=True)
    if kind == "classifier":
        return HeadConfig(kind="classifier", size=values.num_labels, bias=True, transform="relu")
    return None


KEYS: Keys = {
    "vocab_size": Key(f"{ENCODER}.embedding.vocab"),
    "dim": Key(f"{BLOCK}.attention.model"),
    "n_layers": layers(ENCODER),
    "n_heads": Key(f"{BLOCK}.attention.heads"),
    "hidden_dim": Key(f"{BLOCK}.feedforward.hidden"),
    "activation": Key(f"{BLOCK}.feedforward.activation", "gelu", ACTIVATIONS),
    "max_position_embeddings": Key(f"{ENCODER}.embedding.positions.length", 512),
    "tie_word_embeddings": Key(TIED, True),
    "sinusoidal_pos_embds": NoEffect("it says how the table of positions began"),
    "qa_dropout": NoEffect("it acts in training only"),
    "seq_classif_dropout": NoEffect("it acts in training only"),
    "tie_weights_": Only(True),
}

TABLE: Table = {
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
MASKED: Table = {"head.transform": "vocab_transform", "head.norm": "vocab_layer_norm", "head": "vocab_projector"}

LAYOUT = Layout(
    "distilbert",
    KEYS,
    configure,
    TABLE,
    {
        "DistilBertModel": Architecture("none"),
        "DistilBertForMaskedLM": Architecture("masked", MASKED, "distilbert."),
        "DistilBertForSequenceClassification": Architecture(
            "classifier", {"head.transform": "pre_classifier", "head": "classifier"}, "distilbert."
        ),
        "DistilBertForTokenClassification": Architecture("places", {"head": "classifier"}, "distilbert."),
    },
    unused=MASKS,
)
