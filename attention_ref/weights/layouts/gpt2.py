"""GPT-2 (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019)."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, NoEffect, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import BLOCK, DECODER, MASKS, TIED, decoder_classes, decoder_head, layers
from attention_ref.weights.layouts.rules import Flat, SideBySide


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: the scale of the scores may be left out, or divided by the number of the layer."""
    model, norm = values.n_embd, Norm("layer", eps=values.layer_norm_epsilon)
    hidden = values.n_inner or 4 * model
    feedforward = FeedForwardConfig(model=model, hidden=hidden, activation=values.activation_function)

    def block(layer: int) -> BlockConfig:
        divisor = layer + 1 if values.scale_attn_by_inverse_layer_idx else 1
        usual = (model // values.n_head) ** -0.5 if values.scale_attn_weights else 1.0
        is_usual = values.scale_attn_weights and divisor == 1
        scale = None if is_usual else usual / divisor
        attention = AttentionConfig(model=model, heads=values.n_head, causal=True, scale=scale)
        return BlockConfig(attention=attention, feedforward=feedforward, norm=norm, order="pre")

    stack = StackConfig(
        embedding=EmbeddingConfig(vocab=values.vocab_size, positions=Learned(length=values.n_positions)),
        blocks=tuple(block(layer) for layer in range(values.n_layer)),
        norm=norm,
    )
    return ModelConfig(decoder_stack=stack, head=decoder_head(values, kind))


def _is_scaled(config: ModelConfig) -> Any:
    stack = config.decoder_stack
    return ABSENT if stack is None else stack.blocks[0].attention.scale is None


def _is_divided(config: ModelConfig) -> Any:
    scales = [block.attention.scale for block in config.decoder_stack.blocks] if config.decoder_stack else []
    return len(set(scales)) > 1


KEYS: Keys = {
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "n_positions": Key(f"{DECODER}.embedding.positions.length", 1024),
    "n_embd": Key(f"{BLOCK}.attention.model"),
    "n_layer": layers(DECODER),
    "n_head": Key(f"{BLOCK}.attention.heads"),
    "n_inner": Key(f"{BLOCK}.feedforward.hidden", None),
    "activation_function": Key(f"{BLOCK}.feedforward.activation", "gelu_tanh", ACTIVATIONS),
    "layer_norm_epsilon": Key(f"{BLOCK}.norm.eps", 1e-5),
    "scale_attn_weights": Key(_is_scaled, True),
    "scale_attn_by_inverse_layer_idx": Key(_is_divided, False),
    "tie_word_embeddings": Key(TIED, True),
    "n_ctx": NoEffect("an older name of n_positions, which is read"),
    "reorder_and_upcast_attn": NoEffect("it is about the precision of the scores"),
    **dict.fromkeys(
        ("summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj"),
        NoEffect("it is about a head that is not read"),
    ),
}

TABLE: Table = {
    "decoder.embedding.token": "wte.weight",
    "decoder.embedding.position": "wpe.weight",
    "decoder.blocks.*.self_attention_norm": "h.*.ln_1",
    "decoder.blocks.*.self_attention.query+key+value": SideBySide("h.*.attn.c_attn"),
    "decoder.blocks.*.self_attention.output": Flat("h.*.attn.c_proj"),
    "decoder.blocks.*.feedforward_norm": "h.*.ln_2",
    "decoder.blocks.*.feedforward.input": Flat("h.*.mlp.c_fc"),
    "decoder.blocks.*.feedforward.output": Flat("h.*.mlp.c_proj"),
    "decoder.norm": "ln_f",
}

LAYOUT = Layout(
    "gpt2",
    KEYS,
    configure,
    TABLE,
    decoder_classes("GPT2", "transformer.", causal="LMHeadModel"),
    aliases={
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
    },
    unused=MASKS,
)
