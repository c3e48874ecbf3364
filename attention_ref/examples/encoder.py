"""The encoder that articles A and E wanted: embedding, positions, n layers, free head sizes, in every backend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attention_ref import weights
from attention_ref.numpy import Transformer
from attention_ref.spec import AttentionConfig, HeadConfig, Learned, ModelConfig


def article_a(layers: int = 2) -> ModelConfig:
    """A post-norm encoder with learned positions and a feed-forward network of two layers."""
    return ModelConfig.encoder(
        vocab=9, model=8, heads=2, layers=layers, feedforward=12, order="post", positions=Learned(length=16)
    )


def article_e(layers: int = 2, key_size: int = 3, value_size: int = 5) -> ModelConfig:
    """A pre-norm encoder with sinusoidal positions, dropout, free `d_k` and `d_v`, and an output projection."""
    head = HeadConfig(kind="language", size=7, bias=True)  # a score for each of 7 labels, at every place
    config = ModelConfig.encoder(vocab=9, model=8, heads=2, layers=layers, feedforward=12, dropout=0.1, head=head)
    attention = AttentionConfig(model=8, heads=2, head_size=key_size, value_size=value_size, dropout=0.1)
    blocks = tuple(replace(block, attention=attention) for block in config.encoder_stack.blocks)
    return replace(config, encoder_stack=replace(config.encoder_stack, blocks=blocks))


def parameters(config: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw weights: the same for every backend."""
    return weights.init(config, seed=seed)


TOKENS, LENGTHS = np.array([[3, 1, 4, 1], [5, 8, 0, 0]]), np.array([4, 2])
"""Two sentences of tokens; the second one is two tokens long, the rest of its row is padding."""


if __name__ == "__main__":
    for make in (article_a, article_e):
        config = make()
        params = parameters(config)
        output = Transformer(config, params)(TOKENS, lengths=LENGTHS)
        print(f"{make.__name__}: {sum(array.size for array in params.values())} parameters, output {output.shape}")
