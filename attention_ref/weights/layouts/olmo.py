"""OLMo (Groeneveld et al., 2024): Llama with norms without a gain and clipped projections. OLMo 2 (2024): Llama with
norms behind the sublayers, and queries and keys normalised over all heads. OLMoE (2024): Llama with such queries and
keys and a mixture of experts in every block.
"""

from __future__ import annotations

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import MixtureConfig, Norm
from attention_ref.weights.layouts import llama, mixtures
from attention_ref.weights.layouts.config_keys import Key, Keys, Only, Values
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


def olmoe(values: Values, kind: str) -> ModelConfig:
    """The configuration of OLMoE."""
    mixture = MixtureConfig(
        expert=mixtures.network(values, values.intermediate_size),
        experts=values.num_experts,
        chosen=values.num_experts_per_tok,
        normalised=values.norm_topk_prob,
    )
    head, networks = decoder_head(values, kind), [mixture] * values.num_hidden_layers
    options = {"bias": values.attention_bias, "normalizes_heads": "joint", "networks": networks}
    return llama.decoder(values, head, values.hidden_act, **options)


OLMO2_KEYS: Keys = {
    **llama.keys(eps=1e-5),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
}
OLMO_KEYS: Keys = {
    **{name: key for name, key in OLMO2_KEYS.items() if name not in ("rms_norm_eps", "head_dim")},
    "clip_qkv": Key(f"{BLOCK}.attention.clip", None),
}
OLMOE_KEYS: Keys = {
    **{name: key for name, key in OLMO2_KEYS.items() if name != "head_dim"},
    **mixtures.ROUTER,
    "intermediate_size": Key(mixtures.of_mixture("expert.hidden"), 2048),
    "num_experts": Key(mixtures.of_mixture("experts"), 64),
    "num_experts_per_tok": Key(mixtures.of_mixture("chosen"), 8),
    "norm_topk_prob": Key(mixtures.of_mixture("normalised"), False),
    "clip_qkv": Only(None),  # its program clips behind the norm
}
OLMO2_TABLE: Table = {
    **{ours: theirs for ours, theirs in llama.TABLE.items() if not ours.endswith("_norm")},
    "decoder.blocks.*.self_attention.query_norm": Merged("layers.*.self_attn.q_norm"),
    "decoder.blocks.*.self_attention.key_norm": Merged("layers.*.self_attn.k_norm"),
    "decoder.blocks.*.self_attention_output_norm": "layers.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward_output_norm": "layers.*.post_feedforward_layernorm",
}
OLMOE_TABLE: Table = {
    **mixtures.EXPERTS,
    **{name: rule for name, rule in OLMO2_TABLE.items() if name.endswith(("query_norm", "key_norm"))},
}

LAYOUTS = (
    Layout("olmo", OLMO_KEYS, olmo, llama.TABLE, decoder_classes("Olmo", "model."), unused=MASKS),
    Layout("olmo2", OLMO2_KEYS, olmo2, OLMO2_TABLE, decoder_classes("Olmo2", "model."), unused=MASKS),
    Layout(
        "olmoe",
        OLMOE_KEYS,
        olmoe,
        OLMOE_TABLE,
        decoder_classes("Olmoe", "model."),
        aliases={"num_local_experts": "num_experts"},
        unused=MASKS,
    ),
)
