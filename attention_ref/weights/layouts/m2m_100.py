"""M2M-100 (Fan et al., 2020) and NLLB's dense models: mBART with sinusoids that leave padding out."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig
from attention_ref.spec.config import Sinusoid
from attention_ref.weights.layouts import bart
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, NoEffect, Values
from attention_ref.weights.layouts.layout import Architecture, Layout
from attention_ref.weights.layouts.parts import ENCODER


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: positions begin behind the padding token's."""
    embedding = EmbeddingConfig(
        vocab=values.vocab_size,
        positions=Sinusoid(variant="tensor2tensor", offset=values.pad_token_id + 1),
        positions_skip=values.pad_token_id,
        scale=float(values.d_model**0.5) if values.scale_embedding else 1.0,
    )
    tied = values.tie_word_embeddings
    head = HeadConfig(kind="language", size=values.vocab_size, tied=tied) if kind == "language" else None
    return ModelConfig(**bart.stacks(values, "pre", embedding, embedding), head=head, shared_embedding=tied)


def _padding(config: ModelConfig) -> Any:
    return ABSENT if config.encoder_stack is None else config.encoder_stack.embedding.positions_skip


KEYS: Keys = {
    **bart.sizes("relu"),
    "vocab_size": Key(f"{ENCODER}.embedding.vocab"),
    "scale_embedding": Key(bart.is_scaled, True),
    "tie_word_embeddings": Key(bart.is_tied, True),
    "pad_token_id": Key(_padding, 1),
    "max_position_embeddings": NoEffect("sines and cosines have no end"),
}
_CLASSES = bart.classes("M2M100")

LAYOUT = Layout(
    "m2m_100",
    KEYS,
    configure,
    bart.table,
    {
        "M2M100ForConditionalGeneration": Architecture(
            "language", {"head": "lm_head"}, "model.", fillers=_CLASSES["M2M100ForConditionalGeneration"].fillers
        ),
        "M2M100Model": _CLASSES["M2M100Model"],
    },
    duplicates=bart.COPIES,
    unused={
        r"embed_positions\.weights": "sinusoids, which are computed",
        r"embed_positions\._float_tensor": "an empty tensor of older files",
        r"shared\.weight": "an embedding that is not shared and so not used",
    },
)
