"""Mistral 7B (Jiang et al., 2023): Llama with a sliding window."""

from __future__ import annotations

from attention_ref.spec.architecture import ModelConfig
from attention_ref.weights.layouts import llama
from attention_ref.weights.layouts.config_keys import Key, Keys, Values
from attention_ref.weights.layouts.layout import Layout
from attention_ref.weights.layouts.parts import MASKS, decoder_classes, decoder_head


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: every block has the window."""
    types = [llama.FULL if values.sliding_window is None else llama.SLIDING] * values.num_hidden_layers
    return llama.decoder(values, decoder_head(values, kind), values.hidden_act, layer_types=types)


KEYS: Keys = {**llama.keys(), "sliding_window": Key(llama.window_of, 4096)}

LAYOUT = Layout("mistral", KEYS, configure, llama.TABLE, decoder_classes("Mistral", "model."), unused=MASKS)
