"""Mixtral (Jiang et al., 2024): Mistral with a mixture of experts in every block."""

from __future__ import annotations

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import MixtureConfig
from attention_ref.weights.layouts import llama, mixtures
from attention_ref.weights.layouts.config_keys import Key, Keys, Values
from attention_ref.weights.layouts.layout import Layout, Table, within
from attention_ref.weights.layouts.parts import MASKS, decoder_classes, decoder_head, rotary_of


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: every block has the window, if any."""
    mixture = MixtureConfig(
        expert=mixtures.network(values, values.intermediate_size),
        experts=values.num_local_experts,
        chosen=values.num_experts_per_tok,
    )
    layers, window = values.num_hidden_layers, values.sliding_window
    code = rotary_of(values, values.head_dim or values.hidden_size // values.num_attention_heads, theta=1e6)
    return llama.decoder(
        values,
        decoder_head(values, kind),
        values.hidden_act,
        layer_types=[llama.FULL if window is None else llama.SLIDING] * layers,
        rotaries=dict.fromkeys((llama.SLIDING, llama.FULL), code),
        networks=[mixture] * layers,
    )


KEYS: Keys = {
    **llama.keys(eps=1e-5),
    **mixtures.ROUTER,
    "intermediate_size": Key(mixtures.of_mixture("expert.hidden")),
    "num_local_experts": Key(mixtures.of_mixture("experts"), 8),
    "sliding_window": Key(llama.window_of, None),
}
TABLE: Table = {
    **llama.TABLE,
    "decoder.blocks.*.feedforward.router": "layers.*.block_sparse_moe.gate",
    **within(
        "decoder.blocks.*.feedforward.experts.*",
        "layers.*.block_sparse_moe.experts.*",
        {"gate": "w1", "output": "w2", "input": "w3"},
    ),
}

LAYOUT = Layout(
    "mixtral",
    KEYS,
    configure,
    TABLE,
    decoder_classes("Mixtral", "model."),
    aliases={"num_experts": "num_local_experts"},
    unused=MASKS,
)
