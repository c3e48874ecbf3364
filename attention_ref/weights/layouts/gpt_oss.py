"""gpt-oss (OpenAI, 2025): a mixture of experts in every block, a window in every second one, and trained sinks."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import FeedForwardConfig, MixtureConfig
from attention_ref.weights.layouts import llama, mixtures
from attention_ref.weights.layouts.config_keys import Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import BLOCK, MASKS, decoder_classes, decoder_head, rotary_of
from attention_ref.weights.layouts.rules import Stacked, StackedPairs

_YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
"""The rotary positions of a file that does not configure them."""


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration."""
    if values.rope_parameters is None and values.rope_scaling is None:
        values.rope_parameters = _YARN
    gated: dict[str, Any] = {"gated": True, "activation": "quick_gelu", "input_offset": 1.0}
    network = FeedForwardConfig(
        model=values.hidden_size, hidden=values.intermediate_size, clip=values.swiglu_limit, **gated
    )
    mixture = MixtureConfig(
        expert=network, experts=values.num_local_experts, chosen=values.num_experts_per_tok, router_bias=True
    )
    layers = values.num_hidden_layers
    code = rotary_of(values, values.head_dim, theta=150000.0)
    return llama.decoder(
        values,
        decoder_head(values, kind),
        None,
        bias=values.attention_bias,
        layer_types=values.layer_types or [llama.FULL if i % 2 else llama.SLIDING for i in range(layers)],
        rotaries=dict.fromkeys((llama.SLIDING, llama.FULL), code),
        networks=[mixture] * layers,
        sinks=True,
    )


KEYS: Keys = {
    **llama.keys(eps=1e-5),
    **mixtures.ROUTER,
    "hidden_act": NoEffect("the activation is that of swiglu_alpha"),
    "head_dim": Key(f"{BLOCK}.attention.sizes.head", 64),
    "intermediate_size": Key(mixtures.of_mixture("expert.hidden"), 2880),
    "num_local_experts": Key(mixtures.of_mixture("experts"), 128),
    "num_experts_per_tok": Key(mixtures.of_mixture("chosen"), 4),
    "swiglu_alpha": Only(1.702),
    "swiglu_limit": Key(mixtures.of_mixture("expert.clip"), 7.0),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", True),
    "sliding_window": Key(llama.window_of, 128),
    "layer_types": Key(llama.types_of, None),
    "initial_context_length": NoEffect("the rotary positions say it"),
}
TABLE: Table = {
    **llama.TABLE,
    "decoder.blocks.*.self_attention.sinks": "layers.*.self_attn.sinks",
    "decoder.blocks.*.feedforward.router": "layers.*.mlp.router",
    "decoder.blocks.*.feedforward.experts.*.gate+input": StackedPairs("layers.*.mlp.experts.gate_up_proj{end}"),
    "decoder.blocks.*.feedforward.experts.*.output": Stacked("layers.*.mlp.experts.down_proj{end}"),
}

LAYOUT = Layout(
    "gpt_oss",
    KEYS,
    configure,
    TABLE,
    decoder_classes("GptOss", "model."),
    aliases={"num_experts": "num_local_experts", "experts_per_token": "num_experts_per_tok"},
    unused=MASKS,
)
