"""GPT-2, GPT-J, GPT-NeoX, Phi, OPT, BLOOM, MPT and Falcon."""

from __future__ import annotations

from tests.families.family import Family

ACTIVATIONS = ("relu", "relu2", "gelu", "gelu_new", "quick_gelu", "silu", "gelu_pytorch_tanh", "tanh")
EPS = (1e-12, 1e-6, 1e-3, 1e-2, 0.3)
BOTH = (True, False)

_PHI = {
    "vocab_size": 19,
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "layer_norm_eps": 1e-2,
    "max_position_embeddings": 9,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 60.0, "partial_rotary_factor": 0.5},
}
_OPT = {
    "vocab_size": 19,
    "hidden_size": 8,
    "word_embed_proj_dim": 8,
    "ffn_dim": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 9,
}
_TOKENS = {"bos_token_id": 1, "eos_token_id": 2}
_GPT2 = {"vocab_size": 19, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 7, "layer_norm_epsilon": 1e-2}
_GPT2 |= _TOKENS
_GPTJ = {**_GPT2, "n_embd": 16, "rotary_dim": 4}
_NEOX = {
    "vocab_size": 19,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 9,
    "layer_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 77.0, "partial_rotary_factor": 0.5},
}
_BLOOM = {"vocab_size": 19, "hidden_size": 12, "n_layer": 2, "n_head": 3, "layer_norm_epsilon": 1e-2}
_MPT = {"vocab_size": 19, "d_model": 12, "n_layers": 2, "n_heads": 3, "max_seq_len": 9, "layer_norm_epsilon": 1e-2}
_FALCON = {
    "vocab_size": 19,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "layer_norm_epsilon": 1e-2,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 77.0},
    **_TOKENS,
}
_NEW = {"new_decoder_architecture": True}
_OLD = {"new_decoder_architecture": False, "num_kv_heads": None}
_VARIED_FALCON = {
    "*architecture": (
        {**_NEW, "num_kv_heads": 1},
        {**_NEW, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
        {**_NEW, "num_kv_heads": 4, "num_ln_in_parallel_attn": 2},
        {**_OLD, "multi_query": True},
        {**_OLD, "multi_query": False},
        {**_OLD, "multi_query": False, "parallel_attn": False},
        {**_OLD, "multi_query": True, "parallel_attn": False},
    ),
    "alibi": BOTH,
    "bias": BOTH,
    "ffn_hidden_size": (None, 12),
    "activation": ACTIVATIONS,
    "layer_norm_epsilon": EPS,
    "tie_word_embeddings": BOTH,
}
_PARTS = tuple(
    {**kind, "rope_theta": theta, "partial_rotary_factor": part}
    for kind in ({"rope_type": "default"}, {"rope_type": "linear", "factor": 3.0})
    for theta in (60.0, 1e4)
    for part in (0.25, 0.5, 1.0)
)

_VARIED_GPT2 = {
    "n_head": (1, 2, 4),
    "n_layer": (1, 3),
    "n_inner": (None, 6),
    "activation_function": ACTIVATIONS,
    "layer_norm_epsilon": EPS,
    "tie_word_embeddings": BOTH,
}
_VARIED_NEOX = {
    "num_attention_heads": (1, 2),
    "num_hidden_layers": (1, 3),
    "hidden_act": ACTIVATIONS,
    "layer_norm_eps": EPS,
    "tie_word_embeddings": BOTH,
    "rope_parameters": _PARTS,
}

FAMILIES = (
    Family("gpt2-classifier", "GPT2ForSequenceClassification", {**_GPT2, "num_labels": 3, "pad_token_id": 1}),
    Family(
        "gpt2",
        "GPT2LMHeadModel",
        _GPT2,
        varied={**_VARIED_GPT2, "scale_attn_by_inverse_layer_idx": BOTH, "scale_attn_weights": BOTH},
    ),
    Family(
        "gpt2-scales",
        "GPT2LMHeadModel",
        {
            **_GPT2,
            "n_inner": 6,
            "activation_function": "relu",
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
            "tie_word_embeddings": False,
        },
    ),
    Family("gpt2-stack", "GPT2Model", _GPT2, output="last_hidden_state"),
    Family("gptj", "GPTJForCausalLM", {**_GPTJ, "n_inner": 6}, varied={**_VARIED_GPT2, "rotary_dim": (2, 4)}),
    Family(
        "neox",
        "GPTNeoXForCausalLM",
        _NEOX,
        varied={**_VARIED_NEOX, "use_parallel_residual": BOTH, "attention_bias": BOTH},
    ),
    Family(
        "neox-sequential",
        "GPTNeoXForCausalLM",
        {**_NEOX, "use_parallel_residual": False, "attention_bias": False, "hidden_act": "gelu_new"},
    ),
    Family(
        "phi", "PhiForCausalLM", _PHI, varied={**_VARIED_NEOX, "num_key_value_heads": (None, 1), "qk_layernorm": BOTH}
    ),
    # it puts padding at the position before the first
    Family(
        "opt",
        "OPTForCausalLM",
        _OPT,
        padding=False,
        varied={
            "num_attention_heads": (1, 2, 4),
            "num_hidden_layers": (1, 3),
            "activation_function": ACTIVATIONS,
            "do_layer_norm_before": BOTH,
            "word_embed_proj_dim": (4, 8),
            "_remove_final_layer_norm": BOTH,
            "enable_bias": BOTH,
            "tie_word_embeddings": BOTH,
        },
    ),
    Family(
        "opt-post",
        "OPTForCausalLM",
        {**_OPT, "do_layer_norm_before": False, "enable_bias": False, "activation_function": "gelu"},
        padding=False,
    ),
    Family(
        "opt-projected",
        "OPTForCausalLM",
        {**_OPT, "word_embed_proj_dim": 6, "do_layer_norm_before": False, "enable_bias": False},
        padding=False,
    ),
    Family("opt-projected-stack", "OPTModel", {**_OPT, "word_embed_proj_dim": 6}, "tokens", "last_hidden_state", False),
    # its GELU holds sqrt(2/pi) to 8 digits
    Family(
        "bloom",
        "BloomForCausalLM",
        _BLOOM,
        known=1e-8,
        varied={
            "n_head": (1, 3, 4),
            "n_layer": (1, 3),
            "layer_norm_epsilon": EPS,
            "tie_word_embeddings": BOTH,
            "apply_residual_connection_post_layernorm": BOTH,
        },
    ),
    Family(
        "mpt",
        "MptForCausalLM",
        {**_MPT, "attn_config": {"clip_qkv": 0.4}},
        varied={
            "n_heads": (1, 2, 3),
            "n_layers": (1, 3),
            "layer_norm_epsilon": EPS,
            "tie_word_embeddings": BOTH,
            "attn_config": ({}, {"clip_qkv": 0.2}, {"clip_qkv": 6.0, "softmax_scale": 0.7}, {"softmax_scale": 2.0}),
        },
    ),
    Family(
        "falcon", "FalconForCausalLM", {**_FALCON, **_NEW, "num_kv_heads": 2}, attention="sdpa", varied=_VARIED_FALCON
    ),
    # it rounds the bias of ALiBi to bfloat16, which is exact for powers of two, and adds it twice with "eager"
    Family(
        "falcon-alibi",
        "FalconForCausalLM",
        {**_FALCON, "alibi": True, "bias": True, "parallel_attn": False},
        attention="sdpa",
    ),
)
