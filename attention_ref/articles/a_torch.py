"""Article A in PyTorch: how an encoder is put together of its parts."""

from __future__ import annotations

import torch
from torch.nn.functional import embedding, relu


def one_sum(x, attention, feedforward, norms, code):
    """Both sublayers and the code of positions stand in one sum."""
    return norms[0](x + attention(x) + code + feedforward(x))


def no_residual(x, attention, feedforward, norms, code):
    """What went into a sublayer is lost behind it."""
    x = norms[0](attention(x))
    return norms[1](feedforward(x))


def two_sublayers(x, attention, feedforward, norms, code):
    """Each sublayer has a residual connection and a norm; the code of positions is in x already."""
    x = norms[0](x + attention(x))
    return norms[1](x + feedforward(x))


def floats_as_indices(tokens, token, position, layers):
    """What attention gives is looked up in the table of positions."""
    x = token[tokens]
    for layer in layers:
        x = layer(x)
    return embedding(x, position)


def one_layer(tokens, token, position, layers):
    """Of all layers only the first is ever applied."""
    x = token[tokens] + position[: tokens.shape[1]]
    return layers[0](x)


def all_layers(tokens, token, position, layers):
    """Positions join the tokens once; then one layer after another."""
    x = token[tokens] + position[: tokens.shape[1]]
    for layer in layers:
        x = layer(x)
    return x


def one_linear_layer(x, first, second):
    """A feed-forward network without a bend: two maps that are one."""
    kernel = first.kernel @ second.kernel
    return x @ kernel + (first.bias @ second.kernel + second.bias)


def two_linear_layers(x, first, second):
    """There is an activation between the two."""
    return relu(x @ first.kernel + first.bias) @ second.kernel + second.bias


def one_sequence(x, query, key, value, output):
    """Heads are cut from one sequence: there is no axis for a batch."""
    length, _ = x.shape
    q, k, v = (
        (x @ kernel.flatten(1)).view(length, *kernel.shape[1:]).transpose(0, 1) for kernel in (query, key, value)
    )
    weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
    return (weights @ v).transpose(0, 1).reshape(length, -1) @ output.flatten(0, 1)


def batch_of_sequences(x, query, key, value, output):
    """Heads are cut from the last axis, and moved before the length, whatever stands in front."""
    q, k, v = (
        (x @ kernel.flatten(1)).unflatten(-1, kernel.shape[1:]).transpose(-3, -2) for kernel in (query, key, value)
    )
    weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
    return (weights @ v).transpose(-3, -2).flatten(-2) @ output.flatten(0, 1)
