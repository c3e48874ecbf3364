"""Article C in PyTorch: a sequence-to-sequence model on `nn.Transformer`, with sinusoidal positions."""

from __future__ import annotations

import torch
from torch import nn


def math_not_imported(positions, size, config, *, like):
    """The code of the paper, in a file that forgot a line at its top."""
    steps = torch.arange(0, size, 2, dtype=torch.float64)
    angles = positions[..., None] * torch.exp(steps * -math.log(config.base) / size)  # noqa: F821
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).to(like.dtype)


def length_as_size(positions, size, config, *, like):
    """The number of positions is taken for the size of the model."""
    size = positions.shape[-1]
    steps = torch.arange(0, size, 2, dtype=torch.float64)
    angles = positions[..., None] * config.base ** (-steps / size)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).to(like.dtype)


def log2_as_log(positions, size, config, *, like):
    """The exponential undoes the natural logarithm, and no other."""
    steps = torch.arange(0, size, 2, dtype=torch.float64)
    logarithm = torch.log2(torch.tensor(config.base, dtype=torch.float64))
    angles = positions[..., None] * torch.exp(steps * -logarithm / size)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).to(like.dtype)


def no_sine(positions, size, config, *, like):
    """The angles themselves, which grow without end."""
    steps = torch.arange(0, size, 2, dtype=torch.float64)
    angles = positions[..., None] * config.base ** (-steps / size)
    return torch.stack([angles, angles], dim=-1).flatten(-2).to(like.dtype)


def ranks_that_differ(positions, size, config, *, like):
    """A row of positions and a table of angles side by side."""
    steps = torch.arange(0, size, 2, dtype=torch.float64)
    angles = positions[..., None] * config.base ** (-steps / size)
    return torch.cat([positions, angles], dim=-1).to(like.dtype)


def trained_code(positions, size, config, *, like):
    """The code is a parameter: one step of an optimiser, and it is another code."""
    code = nn.Parameter(sinusoid(positions, size, config, like=like))
    code.square().sum().backward()  # any loss does
    torch.optim.SGD([code], lr=0.1).step()
    return code.detach()


def sinusoid(positions, size, config, *, like):
    """Sine and cosine of each frequency side by side; nothing in it is trained."""
    steps = torch.arange(0, size, 2, dtype=torch.float64)
    angles = positions[..., None] * config.base ** (-steps / size)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).to(like.dtype)


def rows_as_places(tokens, token, position, layers):
    """Cut to the size of the first axis, which is the batch here: every token of a row gets one position."""
    x = token[tokens] + position[: tokens.shape[0], None]
    for layer in layers:
        x = layer(x)
    return x


def places_as_places(tokens, token, position, layers):
    """Cut to the length, and broadcast over the batch."""
    x = token[tokens] + position[: tokens.shape[1]]
    for layer in layers:
        x = layer(x)
    return x


def heads_as_model(model, heads, layers, hidden, dropout):
    """The first argument of `nn.Transformer` is the model size, the fourth the number of decoder layers."""
    return nn.Transformer(heads, hidden, layers, dropout)


def by_position(model, heads, layers, hidden, dropout):
    """Model size, heads, layers of the encoder, layers of the decoder, hidden size, dropout."""
    return nn.Transformer(model, heads, layers, layers, hidden, dropout)


def mask_for_each_layer(parts, source, target):
    """A mask of three axes has one matrix for each head of each sequence, not for each layer."""
    masks = torch.stack([parts.causal(target)] * len(parts.transformer.decoder.layers))
    hidden = parts.transformer(parts.embed_source(source), parts.embed_target(target), tgt_mask=masks)
    return parts.project(hidden)


def two_results(parts, source, target):
    """The module returns one tensor."""
    hidden, _ = parts.transformer(parts.embed_source(source), parts.embed_target(target), tgt_mask=parts.causal(target))
    return parts.project(hidden)


def no_causal_mask(parts, source, target):
    """In training, the decoder reads what it is to predict."""
    hidden = parts.transformer(parts.embed_source(source), parts.embed_target(target))
    return parts.project(hidden)


def no_vocabulary(parts, source, target):
    """What comes out are hidden vectors."""
    return parts.transformer(parts.embed_source(source), parts.embed_target(target), tgt_mask=parts.causal(target))


def one_embedding(parts, source, target):
    """Target tokens are looked up among the words of the source language."""
    hidden = parts.transformer(parts.embed_source(source), parts.embed_source(target), tgt_mask=parts.causal(target))
    return parts.project(hidden)


def sequence_to_sequence(parts, source, target):
    """Embed both sides, mask the future, project to the vocabulary."""
    hidden = parts.transformer(parts.embed_source(source), parts.embed_target(target), tgt_mask=parts.causal(target))
    return parts.project(hidden)


def codes_in_every_sublayer(x, attention, feedforward, norms, code):
    """Every sublayer adds codes of positions again."""
    x = norms[0](x + attention(x + code))
    return norms[1](x + feedforward(x + code))


def codes_before_the_block(x, attention, feedforward, norms, code):
    """The code was added to the embedding, once; a sublayer adds none."""
    x = norms[0](x + attention(x))
    return norms[1](x + feedforward(x))
