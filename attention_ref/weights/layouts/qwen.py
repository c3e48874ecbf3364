"""Qwen 2 (Yang et al., 2024) and Qwen 3 (2025): Llama with biases, or with normalised queries and keys; both may have a
sliding window in some blocks.
"""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import ModelConfig
from attention_ref.weights.layouts import llama
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import BLOCK, MASKS, decoder_classes, decoder_head


def qwen2(values: Values, kind: str) -> ModelConfig:
    """The configuration of Qwen 2: biases of queries, keys and values alone."""
    head = decoder_head(values, kind)
    types = _layer_types(values)
    return llama.decoder(values, head, values.hidden_act, bias=True, output_bias=False, layer_types=types)


def qwen3(values: Values, kind: str) -> ModelConfig:
    """The configuration of Qwen 3."""
    head, bias = decoder_head(values, kind), values.attention_bias
    types = _layer_types(values)
    return llama.decoder(values, head, values.hidden_act, bias=bias, layer_types=types, normalizes_heads=True)


def _layer_types(values: Values) -> list[str]:
    """Which blocks have the window: those that `layer_types` names, or those from `max_window_layers` on."""
    if not values.use_sliding_window:
        values.sliding_window = None
    has_window = values.sliding_window is not None
    layers = range(values.num_hidden_layers)
    first = values.max_window_layers
    types = values.layer_types or [llama.SLIDING if has_window and i >= first else llama.FULL for i in layers]
    if not has_window and llama.SLIDING in types:
        raise ValueError(f"layer_types has {llama.SLIDING}, and there is no sliding_window")
    return list(types)


def has_window(config: ModelConfig) -> Any:
    """Whether a block has a sliding window."""
    return llama.window_of(config) is not None


_KEYS: Keys = {
    **llama.keys(),
    "use_sliding_window": Key(has_window, False),
    "sliding_window": Key(llama.window_of, 4096),
    "layer_types": Key(llama.types_of, None),
    "max_window_layers": Key(lambda config: ABSENT, 28),
}
QWEN3_KEYS: Keys = {
    **_KEYS,
    "head_dim": Key(f"{BLOCK}.attention.sizes.head", 128),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
}
QWEN2_KEYS: Keys = {name: key for name, key in _KEYS.items() if name != "head_dim"}
QWEN3_TABLE: Table = {
    **llama.TABLE,
    "decoder.blocks.*.self_attention.query_norm": "layers.*.self_attn.q_norm",
    "decoder.blocks.*.self_attention.key_norm": "layers.*.self_attn.k_norm",
}

LAYOUTS = (
    Layout("qwen2", QWEN2_KEYS, qwen2, llama.TABLE, decoder_classes("Qwen2", "model."), unused=MASKS),
    Layout("qwen3", QWEN3_KEYS, qwen3, QWEN3_TABLE, decoder_classes("Qwen3", "model."), unused=MASKS),
)
