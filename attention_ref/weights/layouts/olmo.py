"""OLMo (Groeneveld et al., 2024): Llama with norms without a gain and clipped projections. OLMo 2 (2024): Llama with
norms behind the sublayers, and queries and keys normalised over all heads.
"""

from __future__ import annotations

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import Norm
from attention_ref.weights.layouts import llama
from attention_ref.weights.layouts.config_keys import Key, Keys, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import BLOCK, MASKS, decoder_classes, decoder_head
from attention_ref.weights.layouts.rules import Merged


def olmo(values: Values, kind: str) -> ModelConfig:
    """The configuration of OLMo."""
    head, bias, norm = (
        decoder_head(values, kind),
        values.attention_bias,
        Norm("layer", eps=1e-5, bias=False, gain=False),
    )
    if values.clip_qkv is not None and not values.clip_qkv > 0:
        raise ValueError(f"clip_qkv is {values.clip_qkv}; it must be above 0, or null")
    return llama.decoder(values, head, values.hidden_act, bias=bias, norm=norm, clip=values.clip_qkv)


def olmo2(values: Values, kind: str) -> ModelConfig:
    """The configuration of OLMo 2."""
    head, bias = decoder_head(values, kind), values.attention_bias
    return llama.decoder(values, head, values.hidden_act, bias=bias, normalizes_heads="joint", order="output")


OLMO2_KEYS: Keys = {
    **llama.keys(eps=1e-5),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
}
OLMO_KEYS: Keys = {
    **{name: key for name, key in OLMO2_KEYS.items() if name not in ("rms_norm_eps", "head_dim")},
    "clip_qkv": Key(f"{BLOCK}.attention.clip", None),
}
OLMO2_TABLE: Table = {
    **{ours: theirs for ours, theirs in llama.TABLE.items() if not ours.endswith("_norm")},
    "decoder.blocks.*.self_attention.query_norm": Merged("layers.*.self_attn.q_norm"),
    "decoder.blocks.*.self_attention.key_norm": Merged("layers.*.self_attn.k_norm"),
    "decoder.blocks.*.self_attention_output_norm": "layers.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward_output_norm": "layers.*.post_feedforward_layernorm",
}

LAYOUTS = (
    Layout("olmo", OLMO_KEYS, olmo, llama.TABLE, decoder_classes("Olmo", "model."), unused=MASKS),
    Layout("olmo2", OLMO2_KEYS, olmo2, OLMO2_TABLE, decoder_classes("Olmo2", "model."), unused=MASKS),
)
