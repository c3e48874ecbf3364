"""Article E in PyTorch: a classifier of sentences of parts that do not exist."""

from __future__ import annotations

from torch import nn


def layer_that_does_not_exist(model, heads, hidden, **options):
    """PyTorch has encoder layers and decoder layers."""
    return nn.TransformerLayer(model, heads, dim_feedforward=hidden, **options)


def encoder_layer(model, heads, hidden, **options):
    """The layer that is meant."""
    return nn.TransformerEncoderLayer(model, heads, dim_feedforward=hidden, **options)


def encoding_that_is_not_defined(tokens, token, position, layers):
    """The class is used and nowhere written."""
    encoding = PositionalEncoding(token.shape[-1])  # noqa: F821
    x = encoding(token[tokens])
    for layer in layers:
        x = layer(x)
    return x


def depth_forgotten(tokens, token, position, layers):
    """One layer, whatever `n_layer` says."""
    layer = layers[0]
    return layer(token[tokens] + position[: tokens.shape[1]])


def encoder(tokens, token, position, layers):
    """Tokens, positions, every layer."""
    x = token[tokens] + position[: tokens.shape[1]]
    for layer in layers:
        x = layer(x)
    return x
