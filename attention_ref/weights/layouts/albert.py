"""ALBERT (Lan et al., 2019): a small embedding that is projected, and the same tensors in several blocks. ELECTRA
(Clark et al., 2020): BERT with a small embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig
from attention_ref.spec.config import Learned, Norm
from attention_ref.spec.parameters import under
from attention_ref.weights.layouts import bert
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
from attention_ref.weights.layouts.parts import ENCODER, MASKS
from attention_ref.weights.layouts.rules import Shared


def albert(values: Values, kind: str) -> ModelConfig:
    """The configuration of ALBERT, which has a projection of its embedding at every size. Each of its layers may be
    several blocks.
    """
    groups, inner, layers = values.num_hidden_groups, values.inner_group_num, values.num_hidden_layers
    if not (1 <= groups <= layers and 1 <= inner <= MOST_LAYERS // layers):
        raise ValueError(f"num_hidden_groups is {groups} and inner_group_num {inner}, with num_hidden_layers {layers}")
    whole = _configured(values, kind, values.embedding_size, values.hidden_act, "tanh")
    stack: Any = whole.encoder_stack
    return replace(whole, encoder_stack=replace(stack, blocks=stack.blocks * inner))


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


def _numbers(values: Values) -> list[str]:
    """The group and the place in it of each block: the groups follow one another, each as often as the others."""
    return _places(values.num_hidden_layers, values.num_hidden_groups, values.inner_group_num)


def _places(layers: int, groups: int, inner: int) -> list[str]:
    # the group of a layer as the library rounds it
    chosen = [int(layer / (layers / groups)) for layer in range(layers)]
    return [f"{group}.albert_layers.{place}" for group in chosen for place in range(inner)]


def _sharing(config: ModelConfig, params: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys by which the fewest blocks are stored: those that share tensors have the same ones here."""
    count = len(config.last_stack.blocks)
    blocks = [_bytes_of(under(params, f"encoder.blocks.{i}")) for i in range(count)]
    found: list[dict[str, Any]] = []
    for inner in (n for n in range(1, count + 1) if count % n == 0):
        for groups in range(1, count // inner + 1):
            chosen = {"num_hidden_layers": count // inner, "num_hidden_groups": groups, "inner_group_num": inner}
            if all(keys.get(name, value) == value for name, value in chosen.items()):
                places = _places(*chosen.values())
                if len(set(zip(places, blocks, strict=True))) == len(set(places)) == groups * inner:
                    found.append(chosen)
    return min(found, key=lambda each: each["num_hidden_groups"] * each["inner_group_num"], default={})


def _bytes_of(params: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256()
    for name, array in params.items():
        digest.update(f"{name} {np.asarray(array).dtype}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.digest()


def _size_of(config: ModelConfig) -> Any:
    stack = config.last_stack
    return stack.embedding.size or stack.model


_KEYS: Keys = {**bert.KEYS, "embedding_size": Key(_size_of, 128)}
ALBERT_KEYS: Keys = {
    **_KEYS,
    "hidden_act": Key(f"{ENCODER}.blocks.0.feedforward.activation", "gelu_tanh", ACTIVATIONS),
    "num_hidden_layers": Key(lambda config: ABSENT, largest=MOST_LAYERS),
    "num_hidden_groups": Key(lambda config: ABSENT, 1, largest=MOST_LAYERS),
    "inner_group_num": Key(lambda config: ABSENT, 1, largest=MOST_LAYERS),
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
_BLOCK = "encoder.albert_layer_groups.*"
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
        numbering=_numbers,
        sharing=_sharing,
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
