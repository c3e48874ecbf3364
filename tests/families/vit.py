"""ViT."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, Patches, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm
from tests.families.family import ACTIVATIONS, Family, biases, squares


def vit(config: Any, kind: str) -> ModelConfig:
    norm = Norm("layer", eps=config.layer_norm_eps)
    height, width = config.image_size
    patches = Patches(size=config.patch_size, height=height, width=width, channels=config.num_channels)
    block = BlockConfig(
        attention=AttentionConfig(
            model=config.hidden_size, heads=config.num_attention_heads, **biases(config.qkv_bias, True)
        ),
        feedforward=FeedForwardConfig(
            model=config.hidden_size, hidden=config.intermediate_size, activation=ACTIVATIONS[config.hidden_act]
        ),
        norm=norm,
        order="pre",
    )
    embedding = EmbeddingConfig(patches=patches, positions=Learned(length=patches.length))
    size = config.num_labels if kind == "classifier" else config.pooler_output_size
    return ModelConfig(
        encoder_stack=StackConfig(embedding=embedding, blocks=(block,) * config.num_hidden_layers, norm=norm),
        head=HeadConfig(kind=kind, size=size, bias=True),
    )


STACK = {
    "encoder.embedding.class_token": "embeddings.cls_token",
    "encoder.embedding.position": "embeddings.position_embeddings",
    "encoder.embedding.patch.kernel": (squares, "embeddings.patch_embeddings.projection.weight"),
    "encoder.embedding.patch.bias": "embeddings.patch_embeddings.projection.bias",
    "encoder.blocks.*.self_attention_norm": "layers.*.layernorm_before",
    "encoder.blocks.*.self_attention.query": "layers.*.attention.q_proj",
    "encoder.blocks.*.self_attention.key": "layers.*.attention.k_proj",
    "encoder.blocks.*.self_attention.value": "layers.*.attention.v_proj",
    "encoder.blocks.*.self_attention.output": "layers.*.attention.o_proj",
    "encoder.blocks.*.feedforward_norm": "layers.*.layernorm_after",
    "encoder.blocks.*.feedforward.input": "layers.*.mlp.fc1",
    "encoder.blocks.*.feedforward.output": "layers.*.mlp.fc2",
    "encoder.norm": "layernorm",
}
POOLER = STACK | {"head.pooler": "pooler.dense"}
CLASSIFIER = {
    ours: (theirs[0], f"vit.{theirs[1]}") if isinstance(theirs, tuple) else f"vit.{theirs}"
    for ours, theirs in STACK.items()
} | {"head": "classifier"}

_VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "image_size": [4, 6],
    "patch_size": 2,
    "num_channels": 3,
    "layer_norm_eps": 1e-2,
    "num_labels": 3,
}

FAMILIES = (
    Family(
        "vit",
        "ViTModel",
        {**_VIT, "pooler_output_size": 5},
        lambda config: vit(config, "pooler"),
        POOLER,
        "image",
        "pooler_output",
    ),
    Family(
        "vit-classifier",
        "ViTForImageClassification",
        {**_VIT, "qkv_bias": False, "hidden_act": "quick_gelu"},
        lambda config: vit(config, "classifier"),
        CLASSIFIER,
        "image",
    ),
)
