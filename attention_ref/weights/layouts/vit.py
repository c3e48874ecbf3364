"""ViT (Dosovitskiy et al., 2020), and DeiT (Touvron et al., 2021), which has a second trained vector."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, Patches, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Architecture, Layout, Table
from attention_ref.weights.layouts.parts import ENCODER, biases, layers
from attention_ref.weights.layouts.rules import Convolution, Leading

BLOCK = f"{ENCODER}.blocks.0"


def deit(values: Values, kind: str) -> ModelConfig:
    """The configuration of DeiT."""
    return configure(values, kind, distillation_token=True)


def configure(values: Values, kind: str, **tokens: bool) -> ModelConfig:
    """The configuration of ViT; `tokens` as in `Patches`."""
    norm, size = Norm("layer", eps=values.layer_norm_eps), values.image_size
    height, width = size if isinstance(size, list) else (size, size)
    patches = Patches(size=values.patch_size, height=height, width=width, channels=values.num_channels, **tokens)
    model, heads = values.hidden_size, values.num_attention_heads
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=heads, **biases(values.qkv_bias, True)),
        feedforward=FeedForwardConfig(model=model, hidden=values.intermediate_size, activation=values.hidden_act),
        norm=norm,
        order="pre",
    )
    embedding = EmbeddingConfig(patches=patches, positions=Learned(length=patches.length))
    stack = StackConfig(embedding=embedding, blocks=(block,) * values.num_hidden_layers, norm=norm)
    return ModelConfig(encoder_stack=stack, head=_head(values, kind))


def _head(values: Values, kind: str) -> HeadConfig | None:
    if kind == "classifier":
        return HeadConfig(kind="classifier", size=values.num_labels, bias=True)
    if kind == "pooler":
        return HeadConfig(kind="pooler", size=values.pooler_output_size or values.hidden_size, bias=True)
    return None


def _image(config: ModelConfig) -> Any:
    patches = config.encoder_stack.embedding.patches if config.encoder_stack is not None else None
    if patches is None:
        return ABSENT
    return patches.height if patches.height == patches.width else [patches.height, patches.width]


def _pooled(config: ModelConfig) -> Any:
    return config.head.size if config.head is not None and config.head.kind == "pooler" else None


KEYS: Keys = {
    "hidden_size": Key(f"{BLOCK}.attention.model"),
    "num_hidden_layers": layers(ENCODER),
    "num_attention_heads": Key(f"{BLOCK}.attention.heads"),
    "intermediate_size": Key(f"{BLOCK}.feedforward.hidden"),
    "hidden_act": Key(f"{BLOCK}.feedforward.activation", "gelu", ACTIVATIONS),
    "layer_norm_eps": Key(f"{BLOCK}.norm.eps", 1e-12),
    "image_size": Key(_image, 224),
    "patch_size": Key(f"{ENCODER}.embedding.patches.size", 16),
    "num_channels": Key(f"{ENCODER}.embedding.patches.channels", 3),
    "qkv_bias": Key(f"{BLOCK}.attention.query_bias", True),
    "pooler_output_size": Key(_pooled, None),
    "pooler_act": Only("tanh"),
    "encoder_stride": NoEffect("it is about a head that is not read"),
}

TABLE: Table = {
    "encoder.embedding.class_token": Leading("embeddings.cls_token", 2),
    "encoder.embedding.position": Leading("embeddings.position_embeddings"),
    "encoder.embedding.patch": Convolution("embeddings.patch_embeddings.projection"),
    "encoder.blocks.*.self_attention_norm": "encoder.layer.*.layernorm_before",
    "encoder.blocks.*.self_attention.query": "encoder.layer.*.attention.attention.query",
    "encoder.blocks.*.self_attention.key": "encoder.layer.*.attention.attention.key",
    "encoder.blocks.*.self_attention.value": "encoder.layer.*.attention.attention.value",
    "encoder.blocks.*.self_attention.output": "encoder.layer.*.attention.output.dense",
    "encoder.blocks.*.feedforward_norm": "encoder.layer.*.layernorm_after",
    "encoder.blocks.*.feedforward.input": "encoder.layer.*.intermediate.dense",
    "encoder.blocks.*.feedforward.output": "encoder.layer.*.output.dense",
    "encoder.norm": "layernorm",
}

DEIT_TABLE: Table = {
    **TABLE,
    "encoder.embedding.distillation_token": Leading("embeddings.distillation_token", 2),
}
_MASK = {r"embeddings\.mask_token": "a patch of masked images, which this class does not have"}


def _classes(name: str, prefix: str) -> dict[str, Architecture]:
    return {
        f"{name}Model": Architecture("pooler", {"head.pooler": "pooler.dense"}, optional=True),
        f"{name}ForImageClassification": Architecture("classifier", {"head": "classifier"}, prefix),
    }


LAYOUTS = (
    Layout("vit", KEYS, configure, TABLE, _classes("ViT", "vit."), unused=_MASK),
    Layout("deit", KEYS, deit, DEIT_TABLE, _classes("DeiT", "deit."), unused=_MASK),
)
