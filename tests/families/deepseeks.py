"""DeepSeek-V2 and V3, and Youtu: latent attention, and experts behind the first blocks."""

from __future__ import annotations

from typing import Any

from tests.families.decoders import BOTH
from tests.families.family import Family
from tests.families.llamas import MSCALE, ROPE, SIZES, VARIED, YARN

_LATENTS = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 6,
    "q_lora_rank": 5,
    "qk_nope_head_dim": 2,  # even, for V2 reads pairs of neighbours as complex numbers
    "qk_rope_head_dim": 4,
    "v_head_dim": 5,
}
_DIRECT = {"q_lora_rank": None}
_EXPERTS = {
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "n_shared_experts": 2,
    "moe_intermediate_size": 3,
    "routed_scaling_factor": 1.5,
    "first_k_dense_replace": 1,
}
_GROUPS = {"topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2}
_TOKENS = {"pad_token_id": 0, "eos_token_id": 1}
_ONLY_MSCALE = {"rope_parameters": {**YARN["rope_parameters"], "mscale_all_dim": 0.8}}
_HEADS = tuple(
    {"num_attention_heads": heads, "num_key_value_heads": heads, "qk_nope_head_dim": content, "qk_rope_head_dim": size}
    for heads in (1, 2, 4)
    for content, size in ((2, 2), (6, 4), (4, 8))
)
_VARIED: dict[str, Any] = {
    **{name: values for name, values in VARIED.items() if name not in ("*heads", "*rope")},
    "*heads": _HEADS,
    "*rope": (ROPE, YARN, MSCALE, _ONLY_MSCALE),
    "q_lora_rank": (None, 1, 7),
    "kv_lora_rank": (2, 8),
    "v_head_dim": (1, 6),
    "attention_bias": BOTH,
}
_EXPERTS_VARIED: dict[str, Any] = {
    "num_hidden_layers": (3,),
    "first_k_dense_replace": (0, 1, 3, 5),
    "n_shared_experts": (1, 3),
    "routed_scaling_factor": (1.0, 0.7),
    "norm_topk_prob": BOTH,
}
_V3_GROUPS = tuple(
    {"n_routed_experts": experts, "num_experts_per_tok": chosen, "n_group": groups, "topk_group": allowed}
    for experts, chosen, groups, allowed in ((2, 1, 1, 1), (6, 2, 1, 1), (6, 3, 3, 2), (8, 2, 4, 1), (8, 8, 2, 2))
)


def _case(name: str, model: str, *options: dict[str, Any], varied: dict[str, Any] | None = None) -> Family:
    joined = {name: value for part in (SIZES, _LATENTS, *options) for name, value in part.items()}
    return Family(name, model, joined, varied=varied or {})


FAMILIES = (
    _case(
        "deepseek-v2",
        "DeepseekV2ForCausalLM",
        ROPE,
        _EXPERTS,
        varied={
            **_VARIED,
            **{name: values for name, values in _EXPERTS_VARIED.items() if name != "norm_topk_prob"},
            "*groups": (_GROUPS, {"topk_method": "greedy"}),
            "mlp_bias": BOTH,
        },
    ),
    _case("deepseek-v2-groups", "DeepseekV2ForCausalLM", MSCALE, _EXPERTS, _GROUPS, _DIRECT, {"attention_bias": True}),
    _case("deepseek-v2-classifier", "DeepseekV2ForSequenceClassification", ROPE, _EXPERTS, _TOKENS, {"num_labels": 3}),
    _case(
        "deepseek-v3",
        "DeepseekV3ForCausalLM",
        _ONLY_MSCALE,
        _EXPERTS,
        {"n_group": 3, "topk_group": 2},
        varied={**_VARIED, **_EXPERTS_VARIED, "*groups": _V3_GROUPS, "rope_interleave": BOTH},
    ),
    _case(
        "youtu",
        "YoutuForCausalLM",
        ROPE,
        {"rope_interleave": False},
        varied={**_VARIED, "rope_interleave": BOTH},
    ),
)
