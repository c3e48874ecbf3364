"""T5 (Raffel et al., 2019) and T5 1.1: a trained bias of distance, no scale of the scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm, RelativeBias
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import Architecture, Layout, Table, within
from attention_ref.weights.layouts.parts import DECODER, ENCODER, attention_names, biases, layers

BLOCK = f"{ENCODER}.blocks.0"
GATED = "gated-"
AS_TIED = "as tied"
"""Older files say by `tie_word_embeddings` whether the input of the head is scaled."""


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration. The first version scales what goes into the head and ties it; 1.1 does neither, and its files
    have a head of their own.
    """
    norm, embedding = Norm("rms", eps=values.layer_norm_epsilon), EmbeddingConfig(vocab=values.vocab_size)
    buckets, maximum = values.relative_attention_num_buckets, values.relative_attention_max_distance
    relative = RelativeBias(buckets=buckets, maximum_distance=maximum)
    heads, size = values.num_heads, values.d_kv
    attention = AttentionConfig(model=values.d_model, heads=heads, head_size=size, scale=1.0, **biases(False))
    block = BlockConfig(attention=attention, feedforward=_feedforward(values), norm=norm, order="pre")
    decoding = replace(block, attention=replace(attention, causal=True), cross_attention=attention)
    encoder = StackConfig(embedding=embedding, blocks=(block,) * values.num_layers, relative_bias=relative, norm=norm)
    if kind == "encoder":
        return ModelConfig(encoder_stack=encoder)
    layers = values.num_layers if values.num_decoder_layers is None else values.num_decoder_layers
    backward = replace(relative, bidirectional=False)
    decoder = replace(encoder, blocks=(decoding,) * layers, relative_bias=backward)
    head = None
    if kind == "language":
        is_scaled = values.scale_decoder_outputs
        is_scaled = values.tie_word_embeddings is not False if is_scaled == AS_TIED else is_scaled
        if not isinstance(is_scaled, bool):
            raise ValueError(f"scale_decoder_outputs is {is_scaled!r:.80}; it must be true or false")
        scale = values.d_model**-0.5 if is_scaled else 1.0
        head = HeadConfig(kind="language", size=values.vocab_size, tied=True, scale=scale)
    return ModelConfig(encoder_stack=encoder, decoder_stack=decoder, head=head, shared_embedding=True)


def _feedforward(values: Values) -> FeedForwardConfig:
    name = values.feed_forward_proj
    is_gated = name.startswith(GATED)
    activation = ACTIVATIONS.get(name.removeprefix(GATED))
    if name == "gated-gelu":  # it has always meant the approximation
        activation = "gelu_tanh"
    if activation is None:
        raise ValueError(
            f"feed_forward_proj is {name!r}; supported are {', '.join(ACTIVATIONS)}, and gated- before them"
        )
    own = values.dense_act_fn is None or ACTIVATIONS.get(values.dense_act_fn) == activation
    if not own or values.is_gated_act not in (None, is_gated):
        given = f"dense_act_fn {values.dense_act_fn!r:.80} and is_gated_act {values.is_gated_act!r:.80}"
        raise ValueError(f"feed_forward_proj is {name!r}, but {given}")
    return FeedForwardConfig(
        model=values.d_model,
        hidden=values.d_ff,
        activation=activation,  # type: ignore[arg-type]  # the table has our words
        gated=is_gated,
        input_bias=False,
        output_bias=False,
    )


def _name_of(config: ModelConfig) -> Any:
    network = config.encoder_stack.blocks[0].feedforward if config.encoder_stack is not None else None
    if not isinstance(network, FeedForwardConfig):
        return ABSENT
    names = [theirs for theirs, ours in ACTIVATIONS.items() if ours == network.activation]
    if not network.gated:
        return names[0]
    return GATED + ("gelu" if network.activation == "gelu_tanh" else "gelu_python" if names[0] == "gelu" else names[0])


def _is_scaled(config: ModelConfig) -> Any:
    return ABSENT if config.head is None else config.head.scale != 1.0


KEYS: Keys = {
    "vocab_size": Key(f"{ENCODER}.embedding.vocab"),
    "d_model": Key(f"{BLOCK}.attention.model"),
    "d_kv": Key(f"{BLOCK}.attention.sizes.head"),
    "d_ff": Key(f"{BLOCK}.feedforward.hidden"),
    "num_layers": layers(ENCODER),
    "num_decoder_layers": layers(DECODER, None),
    "num_heads": Key(f"{BLOCK}.attention.heads"),
    "relative_attention_num_buckets": Key(f"{ENCODER}.relative_bias.buckets", 32),
    "relative_attention_max_distance": Key(f"{ENCODER}.relative_bias.maximum_distance", 128),
    "layer_norm_epsilon": Key(f"{BLOCK}.norm.eps", 1e-6),
    "feed_forward_proj": Key(_name_of, "relu"),
    "scale_decoder_outputs": Key(_is_scaled, AS_TIED),
    "tie_word_embeddings": Key(lambda config: ABSENT, None),
    "dense_act_fn": Key(lambda config: ABSENT, None),
    "is_gated_act": Key(lambda config: ABSENT, None),
    "n_positions": NoEffect("there is no table of positions"),
    "use_bfloat16": Only(False),
}

ENCODER_TABLE: Table = {
    "relative_bias": "block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "blocks.*.self_attention_norm": "block.*.layer.0.layer_norm",
    **within("blocks.*.self_attention", "block.*.layer.0.SelfAttention", attention_names("q", "k", "v", "o")),
    "blocks.*.feedforward_norm": "block.*.layer.1.layer_norm",
    "norm": "final_layer_norm",
}
DECODER_TABLE: Table = {
    **ENCODER_TABLE,
    "blocks.*.cross_attention_norm": "block.*.layer.1.layer_norm",
    **within("blocks.*.cross_attention", "block.*.layer.1.EncDecAttention", attention_names("q", "k", "v", "o")),
    "blocks.*.feedforward_norm": "block.*.layer.2.layer_norm",
}


def table(config: ModelConfig) -> Table:
    """The tensors of both stacks; the names in a gated network differ."""
    encoder = config.encoder_stack
    network = encoder.blocks[0].feedforward if encoder is not None else None
    is_gated = isinstance(network, FeedForwardConfig) and network.gated
    names = {"gate": "wi_0", "input": "wi_1", "output": "wo"} if is_gated else {"input": "wi", "output": "wo"}
    return {
        "encoder.embedding.token": "shared.weight",
        **within("encoder", "encoder", ENCODER_TABLE),
        **within("encoder.blocks.*.feedforward", "encoder.block.*.layer.1.DenseReluDense", names),
        **within("decoder", "decoder", DECODER_TABLE),
        **within("decoder.blocks.*.feedforward", "decoder.block.*.layer.2.DenseReluDense", names),
    }


LAYOUT = Layout(
    "t5",
    KEYS,
    configure,
    table,
    {
        "T5ForConditionalGeneration": Architecture("language", {"head": "lm_head"}),
        "T5Model": Architecture("none"),
        "T5EncoderModel": Architecture("encoder", unused={r"decoder\..*": "the decoder, which this class has not"}),
    },
    aliases={"hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
    duplicates={"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"},
    unused={
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight": (
            "a bias of the attention to the encoder, which is not used"
        )
    },
)
