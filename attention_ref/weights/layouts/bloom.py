"""BLOOM (BigScience, 2022): ALiBi, and a norm behind the embedding."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import BLOCK, DECODER, MASKS, TIED, decoder_classes, decoder_head, layers
from attention_ref.weights.layouts.rules import WithinHeads


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: the feed-forward network is 4 times as wide as the model, with GELU by tanh; the residual
    connections may start behind the norms.
    """
    if values.slow_but_exact and values.pretraining_tp not in (0, 1):
        raise ValueError(
            f"slow_but_exact is {values.slow_but_exact} with pretraining_tp {values.pretraining_tp}; its program then "
            "leaves out biases"
        )
    model, norm = values.hidden_size, Norm("layer", eps=values.layer_norm_epsilon)
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=values.n_head, alibi=True, causal=True),
        feedforward=FeedForwardConfig(model=model, hidden=4 * model, activation="gelu_tanh"),
        norm=norm,
        order="pre",
        residual="norm" if values.apply_residual_connection_post_layernorm else "input",
    )
    embedding = EmbeddingConfig(vocab=values.vocab_size, norm=norm)
    stack = StackConfig(embedding=embedding, blocks=(block,) * values.n_layer, norm=norm)
    return ModelConfig(decoder_stack=stack, head=decoder_head(values, kind))


def _starts_behind_norm(config: ModelConfig) -> Any:
    stack = config.decoder_stack
    return ABSENT if stack is None else stack.blocks[0].residual == "norm"


_KERNELS = NoEffect("it is about how the model is computed, not what")
KEYS: Keys = {
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "hidden_size": Key(f"{BLOCK}.attention.model"),
    "n_layer": layers(DECODER),
    "n_head": Key(f"{BLOCK}.attention.heads"),
    "layer_norm_epsilon": Key(f"{BLOCK}.norm.eps", 1e-5),
    "tie_word_embeddings": Key(TIED, True),
    "apply_residual_connection_post_layernorm": Key(_starts_behind_norm, False),
    "n_inner": Only(None),
    "pretraining_tp": Key(lambda config: ABSENT, 1),
    "slow_but_exact": Key(lambda config: ABSENT, False),
    **dict.fromkeys(("attention_softmax_in_fp32", "bias_dropout_fusion"), _KERNELS),
    **dict.fromkeys(("masked_softmax_fusion", "skip_bias_add", "skip_bias_add_qkv"), _KERNELS),
    "seq_length": NoEffect("ALiBi has no table of positions"),
    "offset_alibi": NoEffect("of the program that trained it"),
}

TABLE: Table = {
    "decoder.embedding.token": "word_embeddings.weight",
    "decoder.embedding.norm": "word_embeddings_layernorm",
    "decoder.blocks.*.self_attention_norm": "h.*.input_layernorm",
    "decoder.blocks.*.self_attention.query+key+value": WithinHeads("h.*.self_attention.query_key_value"),
    "decoder.blocks.*.self_attention.output": "h.*.self_attention.dense",
    "decoder.blocks.*.feedforward_norm": "h.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward.input": "h.*.mlp.dense_h_to_4h",
    "decoder.blocks.*.feedforward.output": "h.*.mlp.dense_4h_to_h",
    "decoder.norm": "ln_f",
}

LAYOUT = Layout(
    "bloom",
    KEYS,
    configure,
    TABLE,
    decoder_classes("Bloom", "transformer."),
    aliases={"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
    unused=MASKS,
)
