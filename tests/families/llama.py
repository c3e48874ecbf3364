"""Llama, Mistral, Qwen2, Qwen3 and Gemma 2."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm, Rotary, RotaryScaling
from tests.families.family import ACTIVATIONS, Family, biases

SCALINGS = {
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "original_length": "original_max_position_embeddings",
        "low_frequency_factor": "low_freq_factor",
        "high_frequency_factor": "high_freq_factor",
    },
    "yarn": {
        "factor": "factor",
        "original_length": "original_max_position_embeddings",
        "slow_rotations": "beta_slow",
        "fast_rotations": "beta_fast",
        "attention_factor": "attention_factor",
    },
}


def rotary(config: Any, head_size: int) -> Rotary:
    rope = config.rope_parameters
    kind, share = rope["rope_type"], rope.get("partial_rotary_factor", 1.0)
    scaling = None
    if kind != "default":
        given = {ours: rope[theirs] for ours, theirs in SCALINGS[kind].items() if rope.get(theirs) is not None}
        scaling = RotaryScaling(kind=kind, **given)
    return Rotary(base=rope["rope_theta"], dimension=int(head_size * share), scaling=scaling)


def llama(config: Any) -> ModelConfig:
    """Llama and all that differ from it by what their configurations hold."""
    model, heads = config.hidden_size, config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or model // heads
    is_gemma, is_qwen = config.model_type == "gemma2", config.model_type.startswith("qwen")
    norm = Norm("rms", eps=config.rms_norm_eps, gain_offset=float(is_gemma))
    bias = getattr(config, "attention_bias", config.model_type == "qwen2")
    mlp_bias = getattr(config, "mlp_bias", False)
    activation = config.hidden_activation if is_gemma else config.hidden_act
    feedforward = FeedForwardConfig(
        model=model,
        hidden=config.intermediate_size,
        activation=ACTIVATIONS[activation],
        gated=True,
        input_bias=mlp_bias,
        output_bias=mlp_bias,
    )
    windowed = ["sliding_attention" if config.model_type == "mistral" else None] * config.num_hidden_layers
    windowed = config.layer_types if is_gemma or is_qwen else windowed

    def block(layer: int) -> BlockConfig:
        # a sliding window counts the query's own place
        window = (config.sliding_window - 1, 0) if windowed[layer] == "sliding_attention" else None
        attention = AttentionConfig(
            model=model,
            heads=heads,
            kv_heads=config.num_key_value_heads,
            head_size=head_size,
            query_key_norm=norm if config.model_type == "qwen3" else None,
            rotary=rotary(config, head_size),
            causal=True,
            window=window,
            scale=config.query_pre_attn_scalar**-0.5 if is_gemma else None,
            softcap=config.attn_logit_softcapping if is_gemma else None,
            **biases(bias, False if config.model_type == "qwen2" else bias),
        )
        order = "sandwich" if is_gemma else "pre"
        return BlockConfig(attention=attention, feedforward=feedforward, norm=norm, order=order)

    return ModelConfig(
        decoder_stack=StackConfig(
            embedding=EmbeddingConfig(vocab=config.vocab_size, scale=model**0.5 if is_gemma else 1.0),
            blocks=tuple(block(layer) for layer in range(config.num_hidden_layers)),
            norm=norm,
        ),
        head=HeadConfig(
            kind="language",
            size=config.vocab_size,
            tied=config.tie_word_embeddings,
            softcap=config.final_logit_softcapping if is_gemma else None,
        ),
    )


LLAMA = {
    "decoder.embedding.token": "model.embed_tokens.weight",
    "decoder.blocks.*.self_attention_norm": "model.layers.*.input_layernorm",
    "decoder.blocks.*.self_attention.query": "model.layers.*.self_attn.q_proj",
    "decoder.blocks.*.self_attention.key": "model.layers.*.self_attn.k_proj",
    "decoder.blocks.*.self_attention.value": "model.layers.*.self_attn.v_proj",
    "decoder.blocks.*.self_attention.output": "model.layers.*.self_attn.o_proj",
    "decoder.blocks.*.feedforward_norm": "model.layers.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward.input": "model.layers.*.mlp.up_proj",
    "decoder.blocks.*.feedforward.gate": "model.layers.*.mlp.gate_proj",
    "decoder.blocks.*.feedforward.output": "model.layers.*.mlp.down_proj",
    "decoder.norm": "model.norm",
    "head": "lm_head",
}

QWEN3 = LLAMA | {
    "decoder.blocks.*.self_attention.query_norm": "model.layers.*.self_attn.q_norm",
    "decoder.blocks.*.self_attention.key_norm": "model.layers.*.self_attn.k_norm",
}

GEMMA2 = LLAMA | {
    "decoder.blocks.*.self_attention_output_norm": "model.layers.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward_norm": "model.layers.*.pre_feedforward_layernorm",
    "decoder.blocks.*.feedforward_output_norm": "model.layers.*.post_feedforward_layernorm",
}

_SIZES = {
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
_ROPE = {"rope_parameters": {"rope_type": "default", **_THETA}}
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
_YARN = {
    "rope_parameters": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 2.0,
        "beta_slow": 0.3,
        **_THETA,
    }
}
_BIASES = {"attention_bias": True, "mlp_bias": True}
_HEADS = {"head_dim": 6}
_WINDOW = {"sliding_window": 3}
_MIXED = {"use_sliding_window": True, "max_window_layers": 1}
_GEMMA = {
    "query_pre_attn_scalar": 5,
    "attn_logit_softcapping": 0.7,
    "final_logit_softcapping": 0.9,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}


def _case(name: str, model: str, table: Any, *options: dict[str, Any]) -> Family:
    joined = {name: value for part in (_SIZES, *options) for name, value in part.items()}
    return Family(name, model, joined, llama, table)


FAMILIES = (
    _case("llama", "LlamaForCausalLM", LLAMA, _ROPE),
    _case("llama-biases-tied", "LlamaForCausalLM", LLAMA, _ROPE, _BIASES, _HEADS, {"tie_word_embeddings": True}),
    _case("llama-linear", "LlamaForCausalLM", LLAMA, _LINEAR),
    _case("llama-llama3", "LlamaForCausalLM", LLAMA, _LLAMA3, {"head_dim": 12}),
    _case("llama-yarn", "LlamaForCausalLM", LLAMA, _YARN, {"head_dim": 12}),
    _case("mistral", "MistralForCausalLM", LLAMA, _ROPE, _WINDOW, _HEADS),
    _case("qwen2", "Qwen2ForCausalLM", LLAMA, _ROPE, {"hidden_act": "gelu"}),
    _case("qwen2-window", "Qwen2ForCausalLM", LLAMA, _YARN, _WINDOW, _MIXED),
    _case("qwen3", "Qwen3ForCausalLM", QWEN3, _ROPE, _HEADS, {"tie_word_embeddings": True}),
    _case("qwen3-window", "Qwen3ForCausalLM", QWEN3, _ROPE, _HEADS, _WINDOW, _MIXED, {"attention_bias": True}),
    _case("gemma2", "Gemma2ForCausalLM", GEMMA2, _ROPE, _HEADS, _WINDOW, _GEMMA),
    _case("gemma2-biases", "Gemma2ForCausalLM", GEMMA2, _ROPE, _HEADS, _GEMMA, {"attention_bias": True}),
)
