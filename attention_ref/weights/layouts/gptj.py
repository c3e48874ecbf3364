"""GPT-J (Wang and Komatsuzaki, 2021): parallel blocks, rotary positions that pair neighbours."""

from __future__ import annotations

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm, Rotary
from attention_ref.weights.layouts.config_keys import ACTIVATIONS, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import (
    BLOCK,
    DECODER,
    MASKS,
    TIED,
    biases,
    decoder_classes,
    decoder_head,
    layers,
)


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration."""
    model, norm = values.n_embd, Norm("layer", eps=values.layer_norm_epsilon)
    if values.rotary_dim is None:
        raise ValueError("rotary_dim must be a number")
    code = Rotary(dimension=values.rotary_dim, interleaved=True)
    hidden = values.n_inner or 4 * model
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=values.n_head, rotary=code, causal=True, **biases(False)),
        feedforward=FeedForwardConfig(model=model, hidden=hidden, activation=values.activation_function),
        norm=norm,
        order="parallel",
        shared_norm=True,
    )
    embedding = EmbeddingConfig(vocab=values.vocab_size)
    stack = StackConfig(embedding=embedding, blocks=(block,) * values.n_layer, norm=norm)
    return ModelConfig(decoder_stack=stack, head=decoder_head(values, kind, bias=True))


KEYS: Keys = {
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "n_embd": Key(f"{BLOCK}.attention.model"),
    "n_layer": layers(DECODER),
    "n_head": Key(f"{BLOCK}.attention.heads"),
    "n_inner": Key(f"{BLOCK}.feedforward.hidden", None),
    "rotary_dim": Key(f"{BLOCK}.attention.rotary.dimension", 64),
    "activation_function": Key(f"{BLOCK}.feedforward.activation", "gelu_tanh", ACTIVATIONS),
    "layer_norm_epsilon": Key(f"{BLOCK}.norm.eps", 1e-5),
    "tie_word_embeddings": Key(TIED, False),
    "n_positions": NoEffect("rotary positions have no table"),
    "n_ctx": NoEffect("rotary positions have no table"),
    "rotary": Only(True),
    "scale_attn_weights": Only(True),
    **dict.fromkeys(
        ("summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj"),
        NoEffect("it is about a head that is not read"),
    ),
}

TABLE: Table = {
    "decoder.embedding.token": "wte.weight",
    "decoder.blocks.*.self_attention_norm": "h.*.ln_1",
    "decoder.blocks.*.self_attention.query": "h.*.attn.q_proj",
    "decoder.blocks.*.self_attention.key": "h.*.attn.k_proj",
    "decoder.blocks.*.self_attention.value": "h.*.attn.v_proj",
    "decoder.blocks.*.self_attention.output": "h.*.attn.out_proj",
    "decoder.blocks.*.feedforward.input": "h.*.mlp.fc_in",
    "decoder.blocks.*.feedforward.output": "h.*.mlp.fc_out",
    "decoder.norm": "ln_f",
}

LAYOUT = Layout(
    "gptj",
    KEYS,
    configure,
    TABLE,
    decoder_classes("GPTJ", "transformer."),
    aliases={"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
    unused=MASKS,
)
