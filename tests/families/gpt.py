"""GPT-2, GPT-J, GPT-NeoX, Phi, OPT and Bloom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm, Rotary
from tests.families.family import ACTIVATIONS, Family, biases, same, third, third_of_heads
from tests.families.llama import rotary


def gpt2(config: Any) -> ModelConfig:
    model, norm = config.n_embd, Norm("layer", eps=config.layer_norm_epsilon)
    feedforward = FeedForwardConfig(
        model=model, hidden=config.n_inner or 4 * model, activation=ACTIVATIONS[config.activation_function]
    )

    def block(layer: int) -> BlockConfig:
        scale = (model // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        scale /= layer + 1 if config.scale_attn_by_inverse_layer_idx else 1
        attention = AttentionConfig(model=model, heads=config.n_head, causal=True, scale=scale)
        return BlockConfig(attention=attention, feedforward=feedforward, norm=norm, order="pre")

    return ModelConfig(
        decoder_stack=StackConfig(
            embedding=EmbeddingConfig(vocab=config.vocab_size, positions=Learned(length=config.n_positions)),
            blocks=tuple(block(layer) for layer in range(config.n_layer)),
            norm=norm,
        ),
        head=HeadConfig(kind="language", size=config.vocab_size, tied=config.tie_word_embeddings),
    )


GPT2 = {
    "decoder.embedding.token": "transformer.wte.weight",
    "decoder.embedding.position": "transformer.wpe.weight",
    "decoder.blocks.*.self_attention_norm": "transformer.h.*.ln_1",
    "decoder.blocks.*.self_attention.query": (third(0), "transformer.h.*.attn.c_attn"),
    "decoder.blocks.*.self_attention.key": (third(1), "transformer.h.*.attn.c_attn"),
    "decoder.blocks.*.self_attention.value": (third(2), "transformer.h.*.attn.c_attn"),
    "decoder.blocks.*.self_attention.output": (same, "transformer.h.*.attn.c_proj"),
    "decoder.blocks.*.feedforward_norm": "transformer.h.*.ln_2",
    "decoder.blocks.*.feedforward.input": (same, "transformer.h.*.mlp.c_fc"),
    "decoder.blocks.*.feedforward.output": (same, "transformer.h.*.mlp.c_proj"),
    "decoder.norm": "transformer.ln_f",
    "head": "lm_head",
}


def gptj(config: Any) -> ModelConfig:
    norm = Norm("layer", eps=config.layer_norm_epsilon)
    block = BlockConfig(
        attention=AttentionConfig(
            model=config.n_embd,
            heads=config.n_head,
            rotary=Rotary(dimension=config.rotary_dim, interleaved=True),
            causal=True,
            **biases(False),
        ),
        feedforward=FeedForwardConfig(
            model=config.n_embd,
            hidden=config.n_inner or 4 * config.n_embd,
            activation=ACTIVATIONS[config.activation_function],
        ),
        norm=norm,
        order="parallel",
        shared_norm=True,
    )
    stack = StackConfig(embedding=EmbeddingConfig(vocab=config.vocab_size), blocks=(block,) * config.n_layer, norm=norm)
    head = HeadConfig(kind="language", size=config.vocab_size, bias=True, tied=config.tie_word_embeddings)
    return ModelConfig(decoder_stack=stack, head=head)


GPTJ = {
    "decoder.embedding.token": "transformer.wte.weight",
    "decoder.blocks.*.self_attention_norm": "transformer.h.*.ln_1",
    "decoder.blocks.*.self_attention.query": "transformer.h.*.attn.q_proj",
    "decoder.blocks.*.self_attention.key": "transformer.h.*.attn.k_proj",
    "decoder.blocks.*.self_attention.value": "transformer.h.*.attn.v_proj",
    "decoder.blocks.*.self_attention.output": "transformer.h.*.attn.out_proj",
    "decoder.blocks.*.feedforward.input": "transformer.h.*.mlp.fc_in",
    "decoder.blocks.*.feedforward.output": "transformer.h.*.mlp.fc_out",
    "decoder.norm": "transformer.ln_f",
    "head": "lm_head",
}


def neox(config: Any) -> ModelConfig:
    norm = Norm("layer", eps=config.layer_norm_eps)
    block = BlockConfig(
        attention=AttentionConfig(
            model=config.hidden_size,
            heads=config.num_attention_heads,
            rotary=rotary(config, config.hidden_size // config.num_attention_heads),
            causal=True,
            **biases(config.attention_bias),
        ),
        feedforward=FeedForwardConfig(
            model=config.hidden_size, hidden=config.intermediate_size, activation=ACTIVATIONS[config.hidden_act]
        ),
        norm=norm,
        order="parallel" if config.use_parallel_residual else "pre",
    )
    embedding = EmbeddingConfig(vocab=config.vocab_size)
    return ModelConfig(
        decoder_stack=StackConfig(embedding=embedding, blocks=(block,) * config.num_hidden_layers, norm=norm),
        head=HeadConfig(kind="language", size=config.vocab_size, tied=config.tie_word_embeddings),
    )


NEOX = {
    "decoder.embedding.token": "gpt_neox.embed_in.weight",
    "decoder.blocks.*.self_attention_norm": "gpt_neox.layers.*.input_layernorm",
    "decoder.blocks.*.self_attention.query": (third_of_heads(0), "gpt_neox.layers.*.attention.query_key_value"),
    "decoder.blocks.*.self_attention.key": (third_of_heads(1), "gpt_neox.layers.*.attention.query_key_value"),
    "decoder.blocks.*.self_attention.value": (third_of_heads(2), "gpt_neox.layers.*.attention.query_key_value"),
    "decoder.blocks.*.self_attention.output": "gpt_neox.layers.*.attention.dense",
    "decoder.blocks.*.feedforward_norm": "gpt_neox.layers.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward.input": "gpt_neox.layers.*.mlp.dense_h_to_4h",
    "decoder.blocks.*.feedforward.output": "gpt_neox.layers.*.mlp.dense_4h_to_h",
    "decoder.norm": "gpt_neox.final_layer_norm",
    "head": "lm_head",
}


def bloom(config: Any) -> ModelConfig:
    norm = Norm("layer", eps=config.layer_norm_epsilon)
    model = config.hidden_size
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=config.n_head, alibi=True, causal=True),
        feedforward=FeedForwardConfig(model=model, hidden=4 * model, activation="gelu_tanh"),
        norm=norm,
        order="pre",
    )
    embedding = EmbeddingConfig(vocab=config.vocab_size, norm=norm)
    return ModelConfig(
        decoder_stack=StackConfig(embedding=embedding, blocks=(block,) * config.n_layer, norm=norm),
        head=HeadConfig(kind="language", size=config.vocab_size, tied=config.tie_word_embeddings),
    )


BLOOM = {
    "decoder.embedding.token": "transformer.word_embeddings.weight",
    "decoder.embedding.norm": "transformer.word_embeddings_layernorm",
    "decoder.blocks.*.self_attention_norm": "transformer.h.*.input_layernorm",
    "decoder.blocks.*.self_attention.query": (third_of_heads(0), "transformer.h.*.self_attention.query_key_value"),
    "decoder.blocks.*.self_attention.key": (third_of_heads(1), "transformer.h.*.self_attention.query_key_value"),
    "decoder.blocks.*.self_attention.value": (third_of_heads(2), "transformer.h.*.self_attention.query_key_value"),
    "decoder.blocks.*.self_attention.output": "transformer.h.*.self_attention.dense",
    "decoder.blocks.*.feedforward_norm": "transformer.h.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward.input": "transformer.h.*.mlp.dense_h_to_4h",
    "decoder.blocks.*.feedforward.output": "transformer.h.*.mlp.dense_4h_to_h",
    "decoder.norm": "transformer.ln_f",
    "head": "lm_head",
}


def phi(config: Any) -> ModelConfig:
    model, activation = config.hidden_size, ACTIVATIONS[config.hidden_act]
    norm = Norm("layer", eps=config.layer_norm_eps)
    block = BlockConfig(
        attention=AttentionConfig(
            model=model,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            rotary=rotary(config, model // config.num_attention_heads),
            causal=True,
        ),
        feedforward=FeedForwardConfig(model=model, hidden=config.intermediate_size, activation=activation),
        norm=norm,
        order="parallel",
        shared_norm=True,
    )
    embedding = EmbeddingConfig(vocab=config.vocab_size)
    return ModelConfig(
        decoder_stack=StackConfig(embedding=embedding, blocks=(block,) * config.num_hidden_layers, norm=norm),
        head=HeadConfig(kind="language", size=config.vocab_size, bias=True, tied=config.tie_word_embeddings),
    )


PHI = {
    "decoder.embedding.token": "model.embed_tokens.weight",
    "decoder.blocks.*.self_attention_norm": "model.layers.*.input_layernorm",
    "decoder.blocks.*.self_attention.query": "model.layers.*.self_attn.q_proj",
    "decoder.blocks.*.self_attention.key": "model.layers.*.self_attn.k_proj",
    "decoder.blocks.*.self_attention.value": "model.layers.*.self_attn.v_proj",
    "decoder.blocks.*.self_attention.output": "model.layers.*.self_attn.dense",
    "decoder.blocks.*.feedforward.input": "model.layers.*.mlp.fc1",
    "decoder.blocks.*.feedforward.output": "model.layers.*.mlp.fc2",
    "decoder.norm": "model.final_layernorm",
    "head": "lm_head",
}


def opt(config: Any) -> ModelConfig:
    order = "pre" if config.do_layer_norm_before else "post"
    norm = Norm("layer", eps=1e-5)
    model = config.hidden_size
    block = BlockConfig(
        attention=AttentionConfig(
            model=model, heads=config.num_attention_heads, causal=True, **biases(config.enable_bias)
        ),
        feedforward=FeedForwardConfig(
            model=model,
            hidden=config.ffn_dim,
            activation=ACTIVATIONS[config.activation_function],
            input_bias=config.enable_bias,
            output_bias=config.enable_bias,
        ),
        norm=norm,
        order=order,
    )
    positions = Learned(length=config.max_position_embeddings, offset=2)
    return ModelConfig(
        decoder_stack=StackConfig(
            embedding=EmbeddingConfig(vocab=config.vocab_size, positions=positions),
            blocks=(block,) * config.num_hidden_layers,
            norm=norm if order == "pre" else None,
        ),
        head=HeadConfig(kind="language", size=config.vocab_size, tied=config.tie_word_embeddings),
    )


OPT = {
    "decoder.embedding.token": "model.decoder.embed_tokens.weight",
    "decoder.embedding.position": "model.decoder.embed_positions.weight",
    "decoder.blocks.*.self_attention_norm": "model.decoder.layers.*.self_attn_layer_norm",
    "decoder.blocks.*.self_attention.query": "model.decoder.layers.*.self_attn.q_proj",
    "decoder.blocks.*.self_attention.key": "model.decoder.layers.*.self_attn.k_proj",
    "decoder.blocks.*.self_attention.value": "model.decoder.layers.*.self_attn.v_proj",
    "decoder.blocks.*.self_attention.output": "model.decoder.layers.*.self_attn.out_proj",
    "decoder.blocks.*.feedforward_norm": "model.decoder.layers.*.final_layer_norm",
    "decoder.blocks.*.feedforward.input": "model.decoder.layers.*.fc1",
    "decoder.blocks.*.feedforward.output": "model.decoder.layers.*.fc2",
    "decoder.norm": "model.decoder.final_layer_norm",
    "head": "lm_head",
}

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
_GPT2 = {"vocab_size": 19, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 7, "layer_norm_epsilon": 1e-2}
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


def gpt2_classifier(config: Any) -> ModelConfig:
    head = HeadConfig(kind="classifier", size=config.num_labels, place="last")
    return replace(gpt2(config), head=head)


FAMILIES = (
    Family(
        "gpt2-classifier",
        "GPT2ForSequenceClassification",
        {**_GPT2, "num_labels": 3, "pad_token_id": 1},
        gpt2_classifier,
        GPT2 | {"head": "score"},
    ),
    Family("gpt2", "GPT2LMHeadModel", _GPT2, gpt2, GPT2),
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
        gpt2,
        GPT2,
    ),
    Family("gptj", "GPTJForCausalLM", {**_GPTJ, "n_inner": 6}, gptj, GPTJ),
    Family("neox", "GPTNeoXForCausalLM", _NEOX, neox, NEOX),
    Family(
        "neox-sequential",
        "GPTNeoXForCausalLM",
        {**_NEOX, "use_parallel_residual": False, "attention_bias": False, "hidden_act": "gelu_new"},
        neox,
        NEOX,
    ),
    Family("phi", "PhiForCausalLM", _PHI, phi, PHI),
    # it puts padding at the position before the first
    Family("opt", "OPTForCausalLM", _OPT, opt, OPT, padding=False),
    Family(
        "opt-post",
        "OPTForCausalLM",
        {**_OPT, "do_layer_norm_before": False, "enable_bias": False, "activation_function": "gelu"},
        opt,
        OPT,
        padding=False,
    ),
    # its GELU holds sqrt(2/pi) to 8 digits
    Family("bloom", "BloomForCausalLM", _BLOOM, bloom, BLOOM, known=1e-8),
)
