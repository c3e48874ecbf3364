"""Whisper (Radford et al., 2022): an encoder of sound, a decoder of text."""

from __future__ import annotations

from attention_ref.spec.architecture import Audio, EmbeddingConfig, HeadConfig, ModelConfig
from attention_ref.spec.config import Learned
from attention_ref.weights.layouts.bart import DECODER_TABLE, ENCODER_TABLE, sizes, stacks
from attention_ref.weights.layouts.config_keys import Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Architecture, Layout, Table, within
from attention_ref.weights.layouts.parts import DECODER, ENCODER, TIED
from attention_ref.weights.layouts.rules import Convolution


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration. The encoder's positions are sines and cosines, and stored: they are read as they are."""
    sound = EmbeddingConfig(
        audio=Audio(channels=values.num_mel_bins), positions=Learned(length=values.max_source_positions)
    )
    text = EmbeddingConfig(vocab=values.vocab_size, positions=Learned(length=values.max_target_positions))
    tied, size = values.tie_word_embeddings, values.vocab_size
    head = HeadConfig(kind="language", size=size, tied=tied) if kind == "language" else None
    return ModelConfig(**stacks(values, "pre", sound, text, key_bias=False), head=head)


_TRAINING = NoEffect("it changes the sound in training only")
KEYS: Keys = {
    **sizes(),
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "num_mel_bins": Key(f"{ENCODER}.embedding.audio.channels", 80),
    "max_source_positions": Key(f"{ENCODER}.embedding.positions.length", 1500),
    "max_target_positions": Key(f"{DECODER}.embedding.positions.length", 448),
    "tie_word_embeddings": Key(TIED, True),
    "scale_embedding": Only(False),
    "use_weighted_layer_sum": NoEffect("it is about a head that is not read"),
    "classifier_proj_size": NoEffect("it is about a head that is not read"),
    "median_filter_width": NoEffect("it is about the time of each word"),
    "apply_spec_augment": _TRAINING,
    **{f"mask_{axis}_{name}": _TRAINING for axis in ("time", "feature") for name in ("prob", "length", "min_masks")},
    "pad_token_id": NoEffect("it says what a token means", written=0),
    "bos_token_id": NoEffect("it says what a token means", written=0),
    "eos_token_id": NoEffect("it says what a token means", written=0),
    "decoder_start_token_id": NoEffect("it says how a text begins", written=0),
    "max_length": NoEffect("it is about how tokens are generated from the scores"),
}

TABLE: Table = {
    "encoder.embedding.first_convolution": Convolution("encoder.conv1"),
    "encoder.embedding.second_convolution": Convolution("encoder.conv2"),
    **within("encoder", "encoder", ENCODER_TABLE),
    "decoder.embedding.token": "decoder.embed_tokens.weight",
    **within("decoder", "decoder", DECODER_TABLE),
}

LAYOUT = Layout(
    "whisper",
    KEYS,
    configure,
    TABLE,
    {
        "WhisperForConditionalGeneration": Architecture("language", {"head.kernel": "proj_out.weight"}, "model."),
        "WhisperModel": Architecture("none"),
    },
)
