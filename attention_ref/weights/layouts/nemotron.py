"""Nemotron 4 (NVIDIA, 2024): LayerNorm with gains stored minus 1, the squared relu, half of each head rotated."""

from __future__ import annotations

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import Norm
from attention_ref.weights.layouts import llama
from attention_ref.weights.layouts.config_keys import ACTIVATIONS, Key, Keys, Values
from attention_ref.weights.layouts.layout import Layout
from attention_ref.weights.layouts.parts import (
    BLOCK,
    MASKS,
    PARTIAL_ROPE,
    decoder_classes,
    decoder_head,
    rotary_of,
)


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration."""
    head_size = values.head_dim or values.hidden_size // values.num_attention_heads
    return llama.decoder(
        values,
        decoder_head(values, kind),
        values.hidden_act,
        bias=values.attention_bias,
        mlp_bias=values.mlp_bias,
        norm=Norm("layer", eps=values.norm_eps, gain_offset=1.0),
        rotaries={llama.FULL: rotary_of(values, head_size, fraction=0.5)},
        gated=False,
    )


KEYS: Keys = {
    **llama.keys(eps=1e-5, eps_name="norm_eps"),
    **PARTIAL_ROPE,
    "hidden_act": Key(f"{BLOCK}.feedforward.activation", "relu_squared", ACTIVATIONS),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
    "mlp_bias": Key(f"{BLOCK}.feedforward.input_bias", False),
}

LAYOUT = Layout("nemotron", KEYS, configure, llama.TABLE, decoder_classes("Nemotron", "model."), unused=MASKS)
