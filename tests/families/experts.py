"""Mixtral, Qwen 2 and 3 with experts, OLMoE and gpt-oss."""

from __future__ import annotations

from typing import Any

from tests.families.decoders import BOTH
from tests.families.family import Family
from tests.families.llamas import HEADS, NO_HEAD_SIZE, NOT_TRUNCATED, ROPE, SIZES, VARIED, YARN

_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_OWN_HIDDEN = {"moe_intermediate_size": 6, **_EXPERTS}
_SHARED = {"num_experts": 4, "num_local_experts": ..., "shared_expert_intermediate_size": 5}
_CHOSEN = tuple(
    {"num_local_experts": experts, "num_experts_per_tok": chosen}
    for experts, chosen in ((1, 1), (4, 1), (4, 2), (5, 3), (6, 6))
)
_MIXED = tuple(
    {"num_hidden_layers": 3, "decoder_sparse_step": step, "mlp_only_layers": plain}
    for step, plain in ((1, []), (2, []), (1, [0]), (1, [0, 2]), (2, [1]), (1, None))
)
_WINDOW = {"use_sliding_window": True, "sliding_window": 3}
_WINDOWS = ({"use_sliding_window": False}, {**_WINDOW, "sliding_window": 1}, _WINDOW)
_VARIED: dict[str, Any] = {"*experts": _CHOSEN, "norm_topk_prob": BOTH}
_MIXED_VARIED = {name: values for name, values in VARIED.items() if name not in ("*heads", "num_hidden_layers")}
_MIXED_VARIED |= {**NO_HEAD_SIZE, **_VARIED, "*layers": _MIXED, "*window": _WINDOWS}
_TOKENS = {"pad_token_id": 0, "eos_token_id": 1}


def _case(name: str, model: str, *options: dict[str, Any], varied: dict[str, Any] | None = None) -> Family:
    joined = {name: value for part in (SIZES, ROPE, _EXPERTS, *options) for name, value in part.items()}
    present = {name: value for name, value in joined.items() if value is not ...}
    return Family(name, model, present, varied=varied or {})


FAMILIES = (
    _case(
        "mixtral",
        "MixtralForCausalLM",
        {"sliding_window": 3, **HEADS},
        varied={**VARIED, "*experts": _CHOSEN, "sliding_window": (None, 1, 2, 4096)},
    ),
    _case(
        "qwen2-moe",
        "Qwen2MoeForCausalLM",
        {**_OWN_HIDDEN, **_SHARED, **_WINDOW, "num_hidden_layers": 3, "mlp_only_layers": [1]},
        varied={
            **_MIXED_VARIED,
            "*experts": tuple(
                {"num_experts": each["num_local_experts"], "num_experts_per_tok": each["num_experts_per_tok"]}
                for each in _CHOSEN
            ),
            "qkv_bias": BOTH,
            "shared_expert_intermediate_size": (1, 7),
            "max_window_layers": (0, 2),
        },
    ),
    _case(
        "qwen3-moe",
        "Qwen3MoeForCausalLM",
        {**_OWN_HIDDEN, "num_hidden_layers": 3, "mlp_only_layers": [0], "norm_topk_prob": True, **_WINDOW},
        varied={**_MIXED_VARIED, "attention_bias": BOTH},
    ),
    _case("qwen3-moe-classifier", "Qwen3MoeForSequenceClassification", {**_OWN_HIDDEN, **_TOKENS, "num_labels": 3}),
    _case(
        "olmoe",
        "OlmoeForCausalLM",
        _TOKENS,
        varied={**{name: values for name, values in VARIED.items() if name != "*heads"}, **NO_HEAD_SIZE, **_VARIED}
        | {"attention_bias": BOTH},
    ),
    _case(
        "gpt-oss",
        "GptOssForCausalLM",
        {**NOT_TRUNCATED, "head_dim": 12, "sliding_window": 2, "num_hidden_layers": 3, "swiglu_limit": 0.5},
        varied={
            **{name: values for name, values in VARIED.items() if name not in ("hidden_act", "*rope")},
            "*rope": (ROPE, YARN, NOT_TRUNCATED),
            "*experts": _CHOSEN,
            "sliding_window": (1, 3),
            "swiglu_limit": (0.2, 7.0),
            "attention_bias": BOTH,
        },
    ),
)
