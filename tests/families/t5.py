"""T5, 1.0 and 1.1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm, RelativeBias
from tests.families.family import ACTIVATIONS, Family, biases, within


def t5(config: Any) -> ModelConfig:
    norm = Norm("rms", eps=config.layer_norm_epsilon)
    embedding = EmbeddingConfig(vocab=config.vocab_size)
    relative = RelativeBias(
        buckets=config.relative_attention_num_buckets, maximum_distance=config.relative_attention_max_distance
    )
    attention = AttentionConfig(
        model=config.d_model, heads=config.num_heads, head_size=config.d_kv, scale=1.0, **biases(False)
    )
    block = BlockConfig(
        attention=attention,
        feedforward=FeedForwardConfig(
            model=config.d_model,
            hidden=config.d_ff,
            activation=ACTIVATIONS[config.dense_act_fn],
            gated=config.is_gated_act,
            input_bias=False,
            output_bias=False,
        ),
        norm=norm,
        order="pre",
    )
    decoding = replace(block, attention=replace(attention, causal=True), cross_attention=attention)
    return ModelConfig(
        encoder_stack=StackConfig(
            embedding=embedding, blocks=(block,) * config.num_layers, relative_bias=relative, norm=norm
        ),
        decoder_stack=StackConfig(
            embedding=embedding,
            blocks=(decoding,) * config.num_decoder_layers,
            relative_bias=replace(relative, bidirectional=False),
            norm=norm,
        ),
        head=HeadConfig(
            kind="language",
            size=config.vocab_size,
            tied=config.scale_decoder_outputs,  # 1.1 neither scales nor ties; `tie_word_embeddings` is true for both
            scale=config.d_model**-0.5 if config.scale_decoder_outputs else 1.0,
        ),
        shared_embedding=True,
    )


def attention_table(name: str) -> dict[str, str]:
    return {"query": f"{name}.q", "key": f"{name}.k", "value": f"{name}.v", "output": f"{name}.o"}


ENCODER = {
    "relative_bias": "block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "blocks.*.self_attention_norm": "block.*.layer.0.layer_norm",
    **within("blocks.*.self_attention", "block.*", attention_table("layer.0.SelfAttention")),
    "blocks.*.feedforward_norm": "block.*.layer.1.layer_norm",
    "blocks.*.feedforward.input": "block.*.layer.1.DenseReluDense.wi",
    "blocks.*.feedforward.output": "block.*.layer.1.DenseReluDense.wo",
    "norm": "final_layer_norm",
}
DECODER = ENCODER | {
    "blocks.*.cross_attention_norm": "block.*.layer.1.layer_norm",
    **within("blocks.*.cross_attention", "block.*", attention_table("layer.1.EncDecAttention")),
    "blocks.*.feedforward_norm": "block.*.layer.2.layer_norm",
    "blocks.*.feedforward.input": "block.*.layer.2.DenseReluDense.wi",
    "blocks.*.feedforward.output": "block.*.layer.2.DenseReluDense.wo",
}
T5 = {
    "encoder.embedding.token": "shared.weight",
    **within("encoder", "encoder", ENCODER),
    **within("decoder", "decoder", DECODER),
    "head": "lm_head",
}
T5_GATED = T5 | {
    "encoder.blocks.*.feedforward.gate": "encoder.block.*.layer.1.DenseReluDense.wi_0",
    "encoder.blocks.*.feedforward.input": "encoder.block.*.layer.1.DenseReluDense.wi_1",
    "decoder.blocks.*.feedforward.gate": "decoder.block.*.layer.2.DenseReluDense.wi_0",
    "decoder.blocks.*.feedforward.input": "decoder.block.*.layer.2.DenseReluDense.wi_1",
}

_T5 = {
    "vocab_size": 19,
    "d_model": 8,
    "d_kv": 6,
    "d_ff": 12,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 2,
    "relative_attention_num_buckets": 6,
    "relative_attention_max_distance": 4,
    "layer_norm_epsilon": 1e-2,
}
_GATED = {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

FAMILIES = (
    Family("t5", "T5ForConditionalGeneration", _T5, t5, T5, "pair"),
    Family("t5-1.1", "T5ForConditionalGeneration", _GATED, t5, T5_GATED, "pair", untied=("lm_head",)),
)
