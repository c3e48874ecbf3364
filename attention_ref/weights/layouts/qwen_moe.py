"""Qwen 2 and Qwen 3 with a mixture of experts in some blocks (Qwen Team, 2024 and 2025); that of Qwen 2 has a shared
expert with a gate.
"""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import MixtureConfig
from attention_ref.weights.layouts import llama, mixtures, qwen
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, NoEffect, Values
from attention_ref.weights.layouts.layout import Layout, Table, within
from attention_ref.weights.layouts.parts import BLOCK, MASKS, decoder_classes, decoder_head


def qwen2_moe(values: Values, kind: str) -> ModelConfig:
    """The configuration of Qwen 2 with experts."""
    shared = mixtures.network(values, values.shared_expert_intermediate_size)
    mixture = _mixture(values, shared=shared, shared_gate=True)
    options: dict[str, Any] = {"bias": values.qkv_bias, "output_bias": False, "layer_types": _every_second(values)}
    return _decoder(values, kind, mixture, **options)


def qwen3_moe(values: Values, kind: str) -> ModelConfig:
    """The configuration of Qwen 3 with experts: every block has the window, if any."""
    has_window = values.use_sliding_window and values.sliding_window is not None
    types = [llama.SLIDING if has_window else llama.FULL] * values.num_hidden_layers
    options = {"bias": values.attention_bias, "normalizes_heads": True, "layer_types": types}
    return _decoder(values, kind, _mixture(values), **options)


def _mixture(values: Values, **options: Any) -> MixtureConfig:
    return MixtureConfig(
        expert=mixtures.network(values, values.moe_intermediate_size),
        experts=values.num_experts,
        chosen=values.num_experts_per_tok,
        normalised=values.norm_topk_prob,
        **options,
    )


def _decoder(values: Values, kind: str, mixture: MixtureConfig, **options: Any) -> ModelConfig:
    networks = mixtures.mixed_layers(values, mixtures.network(values, values.intermediate_size), mixture)
    return llama.decoder(values, decoder_head(values, kind), values.hidden_act, networks=networks, **options)


def _every_second(values: Values) -> list[str]:
    """Which blocks have the window: those that `layer_types` names, or every second one below `max_window_layers`."""
    given = 4096 if values.sliding_window is None else values.sliding_window
    values.sliding_window = given if values.use_sliding_window else None
    has_window = bool(values.sliding_window)
    layers = range(values.num_hidden_layers)
    below = [has_window and i % 2 == 0 and i < values.max_window_layers for i in layers]
    types = values.layer_types or [llama.SLIDING if is_below else llama.FULL for is_below in below]
    if not has_window and llama.SLIDING in types:
        raise ValueError(f"layer_types has {llama.SLIDING}, and there is no sliding_window")
    return list(types)


_KEYS: Keys = {
    **{name: key for name, key in llama.keys().items() if name != "head_dim"},
    **mixtures.ROUTER,
    **mixtures.MIXED_LAYERS,
    "moe_intermediate_size": Key(mixtures.of_mixture("expert.hidden"), 768),
    "norm_topk_prob": Key(mixtures.of_mixture("normalised"), False),
    "use_sliding_window": Key(qwen.has_window, False),
    "sliding_window": Key(llama.window_of, None),
}
QWEN2_KEYS: Keys = {
    **_KEYS,
    "intermediate_size": Key(mixtures.of_dense("hidden"), 5632),
    "moe_intermediate_size": Key(mixtures.of_mixture("expert.hidden"), 1408),
    "shared_expert_intermediate_size": Key(mixtures.of_mixture("shared.hidden"), 5632),
    "num_experts": Key(mixtures.of_mixture("experts"), 60),
    "num_experts_per_tok": Key(mixtures.of_mixture("chosen"), 4),
    "qkv_bias": Key(f"{BLOCK}.attention.query_bias", True),
    "layer_types": Key(llama.types_of, None),
    "max_window_layers": Key(lambda config: ABSENT, 28),
}
QWEN3_KEYS: Keys = {
    **_KEYS,
    "head_dim": Key(f"{BLOCK}.attention.sizes.head", None),
    "intermediate_size": Key(mixtures.of_dense("hidden"), 6144),
    "num_experts": Key(mixtures.of_mixture("experts"), 128),
    "num_experts_per_tok": Key(mixtures.of_mixture("chosen"), 8),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
    "sliding_window": Key(llama.window_of, 4096),
    "max_window_layers": NoEffect("every block has the window, if any"),
}
QWEN2_TABLE: Table = {
    **mixtures.EXPERTS,
    **within("decoder.blocks.*.feedforward.shared", "layers.*.mlp.shared_expert", mixtures.DENSE),
    "decoder.blocks.*.feedforward.shared_gate": "layers.*.mlp.shared_expert_gate",
}
QWEN3_TABLE: Table = {**qwen.QWEN3_TABLE, **mixtures.EXPERTS}

_ALIASES = {"num_local_experts": "num_experts"}
LAYOUTS = (
    Layout(
        "qwen2_moe",
        QWEN2_KEYS,
        qwen2_moe,
        QWEN2_TABLE,
        decoder_classes("Qwen2Moe", "model."),
        aliases=_ALIASES,
        unused=MASKS,
    ),
    Layout(
        "qwen3_moe",
        QWEN3_KEYS,
        qwen3_moe,
        QWEN3_TABLE,
        decoder_classes("Qwen3Moe", "model."),
        aliases=_ALIASES,
        unused=MASKS,
    ),
)
