"""Cohere's Command R (2024): parallel blocks with one LayerNorm without bias, rotation of neighbours, scaled scores."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import Norm
from attention_ref.weights.layouts import llama
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import BLOCK, MASKS, decoder_classes, decoder_head, rotary_of


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: with `use_qk_norm`, each head of queries and keys has a gain of its own."""
    rotary = rotary_of(values, values.hidden_size // values.num_attention_heads, theta=500000.0, interleaved=True)
    return llama.decoder(
        values,
        decoder_head(values, kind, scale=values.logit_scale),
        values.hidden_act,
        bias=values.attention_bias,
        norm=Norm("layer", eps=values.layer_norm_eps, bias=False),
        normalizes_heads="separate" if values.use_qk_norm else False,
        rotaries={llama.FULL: rotary},
        order="parallel",
        shared_norm=True,
    )


def _scale_of(config: ModelConfig) -> Any:
    return ABSENT if config.head is None else config.head.scale


_KEYS: Keys = {
    **llama.keys(eps=1e-5, tied=True, eps_name="layer_norm_eps"),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
    "use_qk_norm": Key(llama.normalizes_heads, False),
    "logit_scale": Key(_scale_of, 0.0625),
}
KEYS: Keys = {name: key for name, key in _KEYS.items() if name != "head_dim"}
TABLE: Table = {
    **llama.TABLE,
    "decoder.blocks.*.self_attention.query_norm": "layers.*.self_attn.q_norm",
    "decoder.blocks.*.self_attention.key_norm": "layers.*.self_attn.k_norm",
}
_CLASSES = {name: each for name, each in decoder_classes("Cohere", "model.").items() if "Classification" not in name}

LAYOUT = Layout("cohere", KEYS, configure, TABLE, _CLASSES, unused=MASKS)
