"""Llama, Mistral, Qwen 2 and 3, Gemma, Gemma 2 and 3, OLMo 2, Cohere and StableLM."""

from __future__ import annotations

from typing import Any

from tests.families.decoders import ACTIVATIONS, BOTH, EPS
from tests.families.family import Family

SIZES = {
    "vocab_size": 19,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 10,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-2,
}
_THETA = {"rope_theta": 50.0}
ROPE = {"rope_parameters": {"rope_type": "default", **_THETA}}
_LINEAR = {"rope_parameters": {"rope_type": "linear", "factor": 3.0, **_THETA}}
_LLAMA3 = {
    "rope_parameters": {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 3.0,
        "original_max_position_embeddings": 40,
        **_THETA,
    }
}
YARN = {
    "rope_parameters": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 2.0,
        "beta_slow": 0.3,
        **_THETA,
    }
}
NOT_TRUNCATED = {"rope_parameters": {**YARN["rope_parameters"], "truncate": False}}
MSCALE = {"rope_parameters": {**YARN["rope_parameters"], "mscale": 0.7, "mscale_all_dim": 1.3}}
_DYNAMIC = {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, **_THETA}, "max_position_embeddings": 3}
_LONGROPE = {
    "rope_parameters": {
        "rope_type": "longrope",
        "original_max_position_embeddings": 4,
        "short_factor": [1.0, 1.25],
        "long_factor": [1.5, 4.0],
        **_THETA,
    }
}
_BIASES = {"attention_bias": True, "mlp_bias": True}
HEADS = {"head_dim": 6}
_WINDOW = {"sliding_window": 3}
_MIXED = {"use_sliding_window": True, "max_window_layers": 1}
_TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
_GEMMA = {
    "query_pre_attn_scalar": 5,
    "attn_logit_softcapping": 0.7,
    "final_logit_softcapping": 0.9,
    **_TOKENS,
}
_GEMMA3 = {
    **_GEMMA,
    "attn_logit_softcapping": None,
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        "full_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0},
    },
}

VARIED: dict[str, Any] = {
    "*heads": tuple(
        {"num_attention_heads": heads, "num_key_value_heads": groups, "head_dim": size}
        for heads, groups in ((1, 1), (2, 1), (4, 2), (4, 4))
        for size in (2, 6)
    ),
    "num_hidden_layers": (1, 3),
    "hidden_act": ACTIVATIONS,
    "rms_norm_eps": EPS,
    "tie_word_embeddings": BOTH,
    "*rope": (ROPE, _LINEAR, _LLAMA3, YARN, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
}
_WINDOWS = {
    "*window": tuple(
        {"use_sliding_window": uses, "sliding_window": window, "max_window_layers": first}
        for uses, window, first in ((True, 1, 0), (True, 2, 1), (True, 3, 0), (True, 3, 5), (False, 2, 0))
    )
}
NO_HEAD_SIZE = {
    "*heads": tuple(
        {"num_attention_heads": heads, "num_key_value_heads": groups} for heads, groups in ((2, 1), (4, 2), (4, 4))
    )
}
_GEMMAS = {name: values for name, values in VARIED.items() if name != "hidden_act"}
_CAPS = {
    "hidden_activation": ACTIVATIONS,
    "query_pre_attn_scalar": (5, 16, 256),
    "attn_logit_softcapping": (None, 0.7, 50.0),
    "final_logit_softcapping": (None, 0.9, 30.0),
    "attention_bias": BOTH,
    "sliding_window": (1, 2, 4096),
}


_LAYER_EPS = {"layer_norm_eps": 1e-2, "rms_norm_eps": ...}  # `...` leaves a key out
_LAYER_NORMS = {name: values for name, values in VARIED.items() if name not in ("rms_norm_eps", "*heads")}
_LAYER_NORMS |= {**NO_HEAD_SIZE, "layer_norm_eps": EPS}
_PARTIAL = tuple(
    {**kind, "rope_theta": theta, "partial_rotary_factor": part}
    for kind in ({"rope_type": "default"}, {"rope_type": "linear", "factor": 3.0})
    for theta in (60.0, 1e4)
    for part in (0.25, 0.5, 1.0)
)


def _case(name: str, model: str, *options: dict[str, Any], varied: dict[str, Any] | None = None) -> Family:
    joined = {name: value for part in (SIZES, *options) for name, value in part.items()}
    present = {name: value for name, value in joined.items() if value is not ...}
    return Family(name, model, present, varied=varied or {})


FAMILIES = (
    _case("llama", "LlamaForCausalLM", ROPE, varied={**VARIED, "attention_bias": BOTH, "mlp_bias": BOTH}),
    _case("llama-biases-tied", "LlamaForCausalLM", ROPE, _BIASES, HEADS, {"tie_word_embeddings": True}),
    _case("llama-linear", "LlamaForCausalLM", _LINEAR),
    _case("llama-llama3", "LlamaForCausalLM", _LLAMA3, {"head_dim": 12}),
    _case("llama-yarn", "LlamaForCausalLM", YARN, {"head_dim": 12}),
    _case("llama-yarn-not-truncated", "LlamaForCausalLM", NOT_TRUNCATED, {"head_dim": 12}),
    _case("llama-mscale", "LlamaForCausalLM", MSCALE, {"head_dim": 12}),
    _case("llama-dynamic", "LlamaForCausalLM", _DYNAMIC),
    _case("llama-longrope", "LlamaForCausalLM", _LONGROPE),
    _case("llama-classifier", "LlamaForSequenceClassification", ROPE, {"num_labels": 3, "pad_token_id": 0}),
    _case(
        "mistral",
        "MistralForCausalLM",
        ROPE,
        _WINDOW,
        HEADS,
        varied={**VARIED, "sliding_window": (None, 1, 2, 4096)},
    ),
    _case("qwen2", "Qwen2ForCausalLM", ROPE, {"hidden_act": "gelu"}, varied={**VARIED, **_WINDOWS, **NO_HEAD_SIZE}),
    _case("qwen2-window", "Qwen2ForCausalLM", YARN, _WINDOW, _MIXED),
    _case(
        "qwen3",
        "Qwen3ForCausalLM",
        ROPE,
        HEADS,
        {"tie_word_embeddings": True},
        varied={**VARIED, **_WINDOWS, "attention_bias": BOTH},
    ),
    _case("qwen3-window", "Qwen3ForCausalLM", ROPE, HEADS, _WINDOW, _MIXED, {"attention_bias": True}),
    _case("gemma", "GemmaForCausalLM", ROPE, HEADS, _TOKENS, varied={**VARIED, "attention_bias": BOTH}),
    _case("gemma2", "Gemma2ForCausalLM", ROPE, HEADS, _WINDOW, _GEMMA, varied={**_GEMMAS, **_CAPS}),
    _case("gemma2-biases", "Gemma2ForCausalLM", ROPE, HEADS, _GEMMA, {"attention_bias": True}),
    _case(
        "gemma3",
        "Gemma3ForCausalLM",
        HEADS,
        _WINDOW,
        _GEMMA3,
        varied={
            name: values
            for name, values in {**_GEMMAS, **_CAPS}.items()
            if name not in ("*rope", "num_hidden_layers", "attn_logit_softcapping")
        },
    ),
    _case(
        "olmo2",
        "Olmo2ForCausalLM",
        ROPE,
        varied={**{name: values for name, values in VARIED.items() if name != "*heads"}, **NO_HEAD_SIZE}
        | {"attention_bias": BOTH},
    ),
    _case(
        "cohere",
        "CohereForCausalLM",
        ROPE,
        _LAYER_EPS,
        _TOKENS,
        {"use_qk_norm": True, "logit_scale": 0.3},
        varied={**_LAYER_NORMS, "attention_bias": BOTH, "use_qk_norm": BOTH, "logit_scale": (0.0625, 1.0, 2.5)},
    ),
    _case(
        "stablelm",
        "StableLmForCausalLM",
        {**_LAYER_EPS, "hidden_size": 32, "rope_parameters": _PARTIAL[1], "qk_layernorm": True},
        varied={
            **{name: values for name, values in _LAYER_NORMS.items() if name not in ("*rope", "*heads")},
            "num_attention_heads": (2, 4),
            "num_key_value_heads": (1, 2),
            "rope_parameters": _PARTIAL,
            "qk_layernorm": BOTH,
            "use_qkv_bias": BOTH,
            "use_parallel_residual": BOTH,
        },
    ),
    _case(
        "olmo",
        "OlmoForCausalLM",
        ROPE,
        {"clip_qkv": 0.3, "rms_norm_eps": ...},
        varied={
            **{name: values for name, values in VARIED.items() if name not in ("*heads", "rms_norm_eps")},
            **NO_HEAD_SIZE,
            "attention_bias": BOTH,
            "clip_qkv": (None, 0.1, 8.0),
        },
    ),
    _case(
        "nemotron",
        "NemotronForCausalLM",
        {"norm_eps": 1e-2, "rms_norm_eps": ..., "rope_parameters": _PARTIAL[1]},
        varied={
            **{name: values for name, values in VARIED.items() if name not in ("*heads", "*rope", "rms_norm_eps")},
            "*heads": tuple(
                {"num_attention_heads": heads, "num_key_value_heads": groups, "head_dim": size}
                for heads, groups in ((1, 1), (4, 2), (4, 4))
                for size in (8, 16)
            ),
            "norm_eps": EPS,
            "rope_parameters": _PARTIAL,
            "attention_bias": BOTH,
            "mlp_bias": BOTH,
        },
    ),
)
