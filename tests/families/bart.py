"""Marian, BART, mBART and Whisper: the same blocks between different embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attention_ref.spec.architecture import Audio, EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm, Sinusoid
from tests.families.family import ACTIVATIONS, Family, within

NORM = Norm("layer", eps=1e-5)


def block(config: Any, side: str, order: str, **attention: bool) -> BlockConfig:
    """A block of the encoder or the decoder."""
    own = AttentionConfig(model=config.d_model, heads=getattr(config, f"{side}_attention_heads"), **attention)
    feedforward = FeedForwardConfig(
        model=config.d_model,
        hidden=getattr(config, f"{side}_ffn_dim"),
        activation=ACTIVATIONS[config.activation_function],
    )
    encoding = BlockConfig(attention=own, feedforward=feedforward, norm=NORM, order=order)
    if side == "encoder":
        return encoding
    return replace(encoding, attention=replace(own, causal=True), cross_attention=own)


def pair(config: Any, order: str, encoder: EmbeddingConfig, decoder: EmbeddingConfig, **attention: bool) -> ModelConfig:
    """Both stacks; with `pre` each ends with a norm."""
    norm = NORM if order == "pre" else None

    def stack(side: str, embedding: EmbeddingConfig) -> StackConfig:
        layers = getattr(config, f"{side}_layers")
        return StackConfig(embedding=embedding, blocks=(block(config, side, order, **attention),) * layers, norm=norm)

    return ModelConfig(
        encoder_stack=stack("encoder", encoder),
        decoder_stack=stack("decoder", decoder),
        head=HeadConfig(
            kind="language",
            size=decoder.vocab or 0,
            bias=config.model_type != "whisper",
            tied=config.tie_word_embeddings,
        ),
        shared_embedding=getattr(config, "share_encoder_decoder_embeddings", encoder.vocab is not None),
    )


def scale(config: Any) -> float:
    return config.d_model**0.5 if config.scale_embedding else 1.0


def marian(config: Any) -> ModelConfig:
    encoder = EmbeddingConfig(vocab=config.vocab_size, positions=Sinusoid(variant="concatenated"), scale=scale(config))
    return pair(config, "post", encoder, replace(encoder, vocab=config.decoder_vocab_size))


def bart(config: Any) -> ModelConfig:
    positions = Learned(length=config.max_position_embeddings, offset=2)
    embedding = EmbeddingConfig(vocab=config.vocab_size, positions=positions, scale=scale(config), norm=NORM)
    return pair(config, "pre" if config.model_type == "mbart" else "post", embedding, embedding)


def bart_classifier(config: Any) -> ModelConfig:
    """It reads the last end token of the target, which is the last real one."""
    head = HeadConfig(kind="classifier", size=config.num_labels, bias=True, transform="tanh", place="last")
    return replace(bart(config), head=head)


def whisper(config: Any) -> ModelConfig:
    sound = EmbeddingConfig(audio=Audio(channels=config.num_mel_bins), positions=Sinusoid(variant="tensor2tensor"))
    positions = Learned(length=config.max_target_positions)
    return pair(config, "pre", sound, EmbeddingConfig(vocab=config.vocab_size, positions=positions), key_bias=False)


def attention_table(name: str) -> dict[str, str]:
    parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
    return {ours: f"{name}.{theirs}" for ours, theirs in parts.items()}


ENCODER = {
    "embedding.norm": "layernorm_embedding",
    "embedding.position": "embed_positions.weight",
    **within("blocks.*.self_attention", "layers.*", attention_table("self_attn")),
    "blocks.*.self_attention_norm": "layers.*.self_attn_layer_norm",
    "blocks.*.feedforward.input": "layers.*.fc1",
    "blocks.*.feedforward.output": "layers.*.fc2",
    "blocks.*.feedforward_norm": "layers.*.final_layer_norm",
    "norm": "layer_norm",
}
DECODER = ENCODER | {
    **within("blocks.*.cross_attention", "layers.*", attention_table("encoder_attn")),
    "blocks.*.cross_attention_norm": "layers.*.encoder_attn_layer_norm",
}
BART = {
    "encoder.embedding.token": "model.shared.weight",
    **within("encoder", "model.encoder", ENCODER),
    **within("decoder", "model.decoder", DECODER),
    "head.kernel": "lm_head.weight",
    "head.bias": "final_logits_bias",
}
MARIAN_SEPARATE = BART | {
    "encoder.embedding.token": "model.encoder.embed_tokens.weight",
    "decoder.embedding.token": "model.decoder.embed_tokens.weight",
}
BART_CLASSIFIER = {name: theirs for name, theirs in BART.items() if not name.startswith("head")} | {
    "head.transform": "classification_head.dense",
    "head": "classification_head.out_proj",
}
WHISPER = BART | {
    "encoder.embedding.first_convolution": "model.encoder.conv1",
    "encoder.embedding.second_convolution": "model.encoder.conv2",
    "decoder.embedding.token": "model.decoder.embed_tokens.weight",
    "head.kernel": "proj_out.weight",
}

_SIZES = {
    "vocab_size": 19,
    "d_model": 8,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 10,
    "decoder_start_token_id": 2,
}
_MARIAN = {**_SIZES, "max_position_embeddings": 9, "pad_token_id": 0, "scale_embedding": True}
_BART = {**_SIZES, "max_position_embeddings": 9, "scale_embedding": True, "activation_function": "gelu_new"}
_WHISPER = {
    **_SIZES,
    "num_mel_bins": 3,
    "max_source_positions": 4,
    "max_target_positions": 9,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_TABLES = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")  # of sines and cosines
_SEPARATE = {"decoder_vocab_size": 17, "share_encoder_decoder_embeddings": False, "activation_function": "swish"}

FAMILIES = (
    Family("marian", "MarianMTModel", _MARIAN, marian, BART, "pair", ignored=_TABLES),
    Family(
        "marian-separate", "MarianMTModel", {**_MARIAN, **_SEPARATE}, marian, MARIAN_SEPARATE, "pair", ignored=_TABLES
    ),
    Family("bart", "BartForConditionalGeneration", _BART, bart, BART, "pair"),
    Family(
        "bart-classifier",
        "BartForSequenceClassification",
        {**_BART, "num_labels": 3},
        bart_classifier,
        BART_CLASSIFIER,
        "classified",
    ),
    Family("mbart", "MBartForConditionalGeneration", {**_BART, "scale_embedding": False}, bart, BART, "pair"),
    Family("whisper", "WhisperForConditionalGeneration", _WHISPER, whisper, WHISPER, "sound", ignored=_TABLES[:1]),
)
