"""Gemma, Gemma 2 (Gemma Team, 2024) and the text model of Gemma 3 (2025): Llama with gains stored as their distance
from 1 and scaled embeddings; from Gemma 2 on with norms before and after each sublayer, and a sliding window in some
blocks.
"""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import ModelConfig
from attention_ref.weights.layouts import llama
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, Only, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import BLOCK, MASKS, decoder_classes, decoder_head, rope_of, rotary


def gemma(values: Values, kind: str) -> ModelConfig:
    """The configuration of Gemma."""
    scale = values.hidden_size**0.5
    head, bias = decoder_head(values, kind), values.attention_bias
    return llama.decoder(values, head, values.hidden_act, bias=bias, gain_offset=1.0, scale_embedding=scale)


def gemma2(values: Values, kind: str, **options: Any) -> ModelConfig:
    """The configuration of Gemma 2."""
    softcap = values.final_logit_softcapping
    return llama.decoder(
        values,
        decoder_head(values, kind, softcap=softcap),
        values.hidden_activation,
        bias=values.attention_bias,
        gain_offset=1.0,
        scale_embedding=values.hidden_size**0.5,
        order="sandwich",
        layer_types=_layer_types(values),
        scale=values.query_pre_attn_scalar**-0.5,
        softcap=getattr(values, "attn_logit_softcapping", None),  # Gemma 3 has none
        **options,
    )


def gemma3(values: Values, kind: str) -> ModelConfig:
    """The configuration of the text model of Gemma 3: each type of block has rotary positions of its own."""
    given = values.rope_parameters or {}
    is_nested = any(isinstance(given.get(name), dict) for name in (llama.SLIDING, llama.FULL))
    if given and not is_nested:
        raise ValueError(f"rope_parameters must have {llama.SLIDING} and {llama.FULL}")
    if set(given) - {llama.SLIDING, llama.FULL}:
        raise ValueError(f"rope_parameters has {', '.join(sorted(set(given) - {llama.SLIDING, llama.FULL}))}")
    full = {"rope_type": "default", **(given.get(llama.FULL) or {}), **(values.rope_scaling or {})}
    length, size = values.max_position_embeddings, values.head_dim
    rotaries = {
        llama.SLIDING: rotary(given.get(llama.SLIDING) or {}, size, length, values.rope_local_base_freq),
        llama.FULL: rotary(full, size, length, values.rope_theta),
    }
    return gemma2(values, kind, normalizes_heads=True, rotaries=rotaries)


def _layer_types(values: Values) -> list[str]:
    pattern = values.sliding_window_pattern or values._sliding_window_pattern
    layers = range(1, values.num_hidden_layers + 1)
    return values.layer_types or [llama.SLIDING if layer % pattern else llama.FULL for layer in layers]


def _ropes_of(config: ModelConfig) -> Any:
    types = llama.types_of(config)
    if types is ABSENT:
        return ABSENT
    return {name: rope_of(config, types.index(name)) for name in dict.fromkeys(types)}


def _scalar_of(config: ModelConfig) -> Any:
    """The number whose root divides the scores: the nearest that gives the scale."""
    scale = config.decoder_stack.blocks[0].attention.scale if config.decoder_stack is not None else None
    if scale is None:
        return ABSENT
    return next((n for n in (round(scale**-2), scale**-2) if n > 0 and n**-0.5 == scale), scale**-2)


def _softcap_of(config: ModelConfig) -> Any:
    return config.head.softcap if config.head is not None else None


_ALL: Keys = {
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
    "use_bidirectional_attention": Only(None, False),
}
_HEAD: Keys = {"head_dim": Key(f"{BLOCK}.attention.sizes.head", 256)}
_LEGACY = dict(ACTIVATIONS, gelu="gelu_tanh")  # released files say gelu and mean its approximation
GEMMA_KEYS: Keys = {
    **llama.keys(tied=True),
    **_ALL,
    **_HEAD,
    "hidden_act": Key(f"{BLOCK}.feedforward.activation", "gelu_tanh", _LEGACY),
    "hidden_activation": Only(None, "gelu_pytorch_tanh"),
}
GEMMA2_KEYS: Keys = {
    **llama.keys("hidden_activation", tied=True),
    **_ALL,
    **_HEAD,
    "hidden_activation": Key(f"{BLOCK}.feedforward.activation", "gelu_tanh", ACTIVATIONS),
    "hidden_act": Only("gelu_pytorch_tanh"),
    "query_pre_attn_scalar": Key(_scalar_of, 256),
    "sliding_window": Key(llama.window_of, 4096),
    "layer_types": Key(llama.types_of, None),
    "final_logit_softcapping": Key(_softcap_of, 30.0),
    "attn_logit_softcapping": Key(f"{BLOCK}.attention.softcap", 50.0),
    "cache_implementation": Only("hybrid", None),
    "sliding_window_pattern": Key(lambda config: ABSENT, None),
    "_sliding_window_pattern": Key(lambda config: ABSENT, 2),
}
GEMMA3_KEYS: Keys = {
    **GEMMA2_KEYS,
    "rope_parameters": Key(_ropes_of, None),
    "rope_theta": Key(lambda config: ABSENT, 1000000.0),
    "rope_local_base_freq": Key(lambda config: ABSENT, 10000.0),
    "final_logit_softcapping": Key(_softcap_of, None),
    "attn_logit_softcapping": Only(None),
    "use_bidirectional_attention": Only(False, None),
    "_sliding_window_pattern": Key(lambda config: ABSENT, 6),
}
SANDWICH: Table = {
    **llama.TABLE,
    "decoder.blocks.*.self_attention_output_norm": "layers.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward_norm": "layers.*.pre_feedforward_layernorm",
    "decoder.blocks.*.feedforward_output_norm": "layers.*.post_feedforward_layernorm",
}
GEMMA3_TABLE: Table = {
    **SANDWICH,
    "decoder.blocks.*.self_attention.query_norm": "layers.*.self_attn.q_norm",
    "decoder.blocks.*.self_attention.key_norm": "layers.*.self_attn.k_norm",
}


_GEMMA3_CLASSES = {
    "Gemma3ForCausalLM": decoder_classes("Gemma3", "model.")["Gemma3ForCausalLM"],
    **{name: each for name, each in decoder_classes("Gemma3Text", "model.").items() if "Causal" not in name},
}

LAYOUTS = (
    Layout("gemma", GEMMA_KEYS, gemma, llama.TABLE, decoder_classes("Gemma", "model."), unused=MASKS),
    Layout("gemma2", GEMMA2_KEYS, gemma2, SANDWICH, decoder_classes("Gemma2", "model."), unused=MASKS),
    Layout("gemma3_text", GEMMA3_KEYS, gemma3, GEMMA3_TABLE, _GEMMA3_CLASSES, unused=MASKS),
)
