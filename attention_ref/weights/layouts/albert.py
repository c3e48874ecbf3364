"""ALBERT (Lan et al., 2019): a small embedding that is projected, and the same tensors in all blocks. ELECTRA (Clark et
al., 2020): BERT with a small embedding.
"""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig
from attention_ref.spec.config import Learned, Norm
from attention_ref.weights.layouts import bert
from attention_ref.weights.layouts.config_keys import ACTIVATIONS, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Architecture, Layout, Table
from attention_ref.weights.layouts.parts import ENCODER, MASKS
from attention_ref.weights.layouts.rules import Shared


def albert(values: Values, kind: str) -> ModelConfig:
    """The configuration of ALBERT, which has a projection of its embedding at every size."""
    return _configured(values, kind, values.embedding_size, values.hidden_act, "tanh")


def electra(values: Values, kind: str) -> ModelConfig:
    """The configuration of ELECTRA, whose heads have GELU."""
    size = None if values.embedding_size == values.hidden_size else values.embedding_size
    return _configured(values, kind, size, "gelu", "gelu")


def _configured(values: Values, kind: str, size: int | None, masked: Any, classified: Any) -> ModelConfig:
    norm = Norm("layer", eps=values.layer_norm_eps)
    embedding = EmbeddingConfig(
        vocab=values.vocab_size,
        types=values.type_vocab_size,
        positions=Learned(length=values.max_position_embeddings),
        norm=norm,
        size=size,
    )
    head = bert.head(values, kind, classified, norm)
    if kind == "masked":
        options: Any = {"tied": values.tie_word_embeddings, "transform": masked, "transform_size": size, "norm": norm}
        head = HeadConfig(kind="language", size=values.vocab_size, bias=True, **options)
    return ModelConfig(encoder_stack=bert.stack(values, embedding, norm, causal=False), head=head)


def _size_of(config: ModelConfig) -> Any:
    stack = config.last_stack
    return stack.embedding.size or stack.model


_KEYS: Keys = {**bert.KEYS, "embedding_size": Key(_size_of, 128)}
ALBERT_KEYS: Keys = {
    **_KEYS,
    "hidden_act": Key(f"{ENCODER}.blocks.0.feedforward.activation", "gelu_tanh", ACTIVATIONS),
    "num_hidden_groups": Only(1),
    "inner_group_num": Only(1),
    "classifier_dropout_prob": NoEffect("it acts in training only"),
    **dict.fromkeys(("net_structure_type", "gap_size", "num_memory_blocks", "down_scale_factor"), Only(0, 1)),
}
ELECTRA_KEYS: Keys = {
    **_KEYS,
    **dict.fromkeys(
        ("summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout"),
        NoEffect("it is about a head that is not read"),
    ),
}

_EMBEDDING: Table = {ours: theirs for ours, theirs in bert.TABLE.items() if ours.startswith("encoder.embedding")}
_BLOCK = "encoder.albert_layer_groups.0.albert_layers.0"
_PARTS = {
    "self_attention.query": "attention.query",
    "self_attention.key": "attention.key",
    "self_attention.value": "attention.value",
    "self_attention.output": "attention.dense",
    "self_attention_norm": "attention.LayerNorm",
    "feedforward.input": "ffn",
    "feedforward.output": "ffn_output",
    "feedforward_norm": "full_layer_layer_norm",
}
ALBERT_TABLE: Table = {
    **_EMBEDDING,
    "encoder.embedding.projection": "encoder.embedding_hidden_mapping_in",
    **{f"encoder.blocks.*.{ours}": Shared(f"{_BLOCK}.{theirs}") for ours, theirs in _PARTS.items()},
}
ELECTRA_TABLE: Table = {**bert.TABLE, "encoder.embedding.projection": "embeddings_project"}

_SOP = "the head that says in which order two sentences stand, which this class does not have"
_ALBERT_TIES = {"predictions.decoder.bias": "predictions.bias"}


def _albert_masked(config: ModelConfig) -> Table:
    return {
        "head.transform": "predictions.dense",
        "head.norm": "predictions.LayerNorm",
        "head.kernel": "predictions.decoder.weight",
        "head.bias": "predictions.bias" if config.head and config.head.tied else "predictions.decoder.bias",
    }


_UNUSED = {
    r"sop_classifier\.classifier\..*": _SOP,
    r"pooler\..*": bert.POOLER,
    r"predictions\.bias": "the bias of a projection that is tied, which this file has not tied",
}

LAYOUTS = (
    Layout(
        "albert",
        ALBERT_KEYS,
        albert,
        ALBERT_TABLE,
        {
            "AlbertModel": Architecture(
                "pooler",
                {"head.pooler": "pooler"},
                unused={r"(sop_classifier|predictions)\..*": "a head, which this class does not have"},
                optional=True,
            ),
            "AlbertForMaskedLM": Architecture(
                "masked", _albert_masked, "albert.", _UNUSED, fillers={"predictions.bias": "predictions.decoder.bias"}
            ),
            "AlbertForSequenceClassification": Architecture(
                "classifier", {"head.transform": "albert.pooler", "head": "classifier"}, "albert."
            ),
            "AlbertForTokenClassification": Architecture("places", {"head": "classifier"}, "albert.", _UNUSED),
        },
        duplicates=_ALBERT_TIES,
        unused=MASKS,
    ),
    Layout(
        "electra",
        ELECTRA_KEYS,
        electra,
        ELECTRA_TABLE,
        {
            "ElectraModel": Architecture(
                "none",
                unused={
                    r"(discriminator|generator)_predictions\..*": "a head, which this class does not have",
                    r"generator_lm_head\..*": "a head, which this class does not have",
                },
            ),
            "ElectraForMaskedLM": Architecture(
                "masked",
                {
                    "head.transform": "generator_predictions.dense",
                    "head.norm": "generator_predictions.LayerNorm",
                    "head": "generator_lm_head",
                },
                "electra.",
            ),
            "ElectraForSequenceClassification": Architecture(
                "classifier", {"head.transform": "classifier.dense", "head": "classifier.out_proj"}, "electra."
            ),
            "ElectraForTokenClassification": Architecture("places", {"head": "classifier"}, "electra."),
        },
        unused=MASKS,
    ),
)
