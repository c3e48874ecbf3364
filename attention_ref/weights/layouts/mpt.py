"""MPT (MosaicML, 2023): ALiBi, no biases, clipped projections."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, NoEffect, Only, Values, read_keys, write_keys
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
from attention_ref.weights.layouts.rules import SideBySide

ATTENTION_KEYS: Keys = {
    "clip_qkv": Key(f"{BLOCK}.attention.clip", None),
    "softmax_scale": Key(f"{BLOCK}.attention.scale", None),
    "alibi": Only(True),
    "alibi_bias_max": Only(8),
    "attn_type": Only("multihead_attention"),
    "prefix_lm": Only(False),
    "qk_ln": Only(False),
    **dict.fromkeys(("attn_impl", "attn_uses_sequence_id"), NoEffect("it is about how the model is computed")),
}
"""The keys of the object `attn_config`."""


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: the feed-forward network is 4 times as wide as the model, with exact GELU."""
    model, norm = values.d_model, Norm("layer", eps=values.layer_norm_epsilon, bias=False)
    own, problems = read_keys(ATTENTION_KEYS, values.attn_config or {})
    if problems:
        raise ValueError(f"attn_config: {'; '.join(problems)}")
    block = BlockConfig(
        attention=AttentionConfig(
            model=model,
            heads=values.n_heads,
            alibi=True,
            causal=True,
            clip=own.clip_qkv or None,
            scale=own.softmax_scale,
            **biases(False),
        ),
        feedforward=FeedForwardConfig(
            model=model, hidden=4 * model, activation="gelu", input_bias=False, output_bias=False
        ),
        norm=norm,
        order="pre",
    )
    embedding = EmbeddingConfig(vocab=values.vocab_size)
    stack = StackConfig(embedding=embedding, blocks=(block,) * values.n_layers, norm=norm)
    return ModelConfig(decoder_stack=stack, head=decoder_head(values, kind))


def _attention_of(config: ModelConfig) -> Any:
    return ABSENT if config.decoder_stack is None else write_keys(ATTENTION_KEYS, config)


_OWN_PROGRAM = NoEffect("transformers does not read it")
KEYS: Keys = {
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "d_model": Key(f"{BLOCK}.attention.model"),
    "n_layers": layers(DECODER),
    "n_heads": Key(f"{BLOCK}.attention.heads"),
    "layer_norm_epsilon": Key(f"{BLOCK}.norm.eps", 1e-5),
    "attn_config": Key(_attention_of, None),
    "tie_word_embeddings": Key(TIED, True),
    "expansion_ratio": Only(4),
    "no_bias": Only(True),
    "logit_scale": Only(None),
    "norm_type": Only("low_precision_layernorm", "layernorm"),
    "embedding_fraction": NoEffect("it acts in training only"),
    "emb_pdrop": NoEffect("it acts in training only"),
    **dict.fromkeys(("learned_pos_emb", "init_device", "max_seq_len", "init_config", "verbose"), _OWN_PROGRAM),
}

TABLE: Table = {
    "decoder.embedding.token": "wte.weight",
    "decoder.blocks.*.self_attention_norm": "blocks.*.norm_1",
    "decoder.blocks.*.self_attention.query+key+value": SideBySide("blocks.*.attn.Wqkv.{leaf}", transposed=True),
    "decoder.blocks.*.self_attention.output": "blocks.*.attn.out_proj",
    "decoder.blocks.*.feedforward_norm": "blocks.*.norm_2",
    "decoder.blocks.*.feedforward.input": "blocks.*.ffn.up_proj",
    "decoder.blocks.*.feedforward.output": "blocks.*.ffn.down_proj",
    "decoder.norm": "norm_f",
}

LAYOUT = Layout(
    "mpt",
    KEYS,
    configure,
    TABLE,
    decoder_classes("Mpt", "transformer."),
    aliases={"num_attention_heads": "n_heads", "hidden_size": "d_model", "num_hidden_layers": "n_layers"},
    unused=MASKS,
)
