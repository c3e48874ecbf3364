"""Article B in PyTorch: an encoder-decoder of `input_dim, output_dim, hidden_dim, n_layers`."""

from __future__ import annotations

from torch import nn


class Encoder(nn.Module):
    """Four numbers come in; two are forgotten, and one is taken for another."""

    def __init__(self, input_dim, output_dim, hidden_dim, n_layers):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(input_dim, hidden_dim)

    def forward(self, x):
        """Apply the one layer."""
        return self.layer(x)


class Decoder(nn.Module):
    """The same, and nothing that the encoder found."""

    def __init__(self, input_dim, output_dim, hidden_dim, n_layers):
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(input_dim, hidden_dim)

    def forward(self, x):
        """Apply the one layer."""
        return self.layer(x)


def hidden_as_heads(model, heads, hidden, **options):
    """The second argument of the layer is the number of heads."""
    return nn.TransformerEncoderLayer(model, hidden, dim_feedforward=hidden, **options)


def heads_as_heads(model, heads, hidden, **options):
    """Model size, heads, hidden size."""
    return nn.TransformerEncoderLayer(model, heads, dim_feedforward=hidden, **options)


def decoder_alone(layer, x, memory, causal):
    """The encoder's result is not handed over."""
    return layer(x, tgt_mask=causal)


def decoder_with_memory(layer, x, memory, causal):
    """The decoder attends to what the encoder found."""
    return layer(x, memory, tgt_mask=causal)


def depth_forgotten(tokens, token, position, layers):
    """One layer was made, however many were asked for."""
    layer = layers[0]
    return layer(token[tokens] + position[: tokens.shape[1]])


def no_embedding(tokens, token, position, layers):
    """Token numbers are fed to a layer as if they were vectors."""
    x = tokens.to(token.dtype)
    for layer in layers:
        x = layer(x)
    return x


def no_positions(tokens, token, position, layers):
    """Nothing says which token comes first."""
    x = token[tokens]
    for layer in layers:
        x = layer(x)
    return x


def embedded_with_positions(tokens, token, position, layers):
    """Token vectors, positions, every layer."""
    x = token[tokens] + position[: tokens.shape[1]]
    for layer in layers:
        x = layer(x)
    return x


def no_padding_mask(layer, x, is_padding):
    """Padding is attended to like anything else."""
    return layer(x)


def padding_mask(layer, x, is_padding):
    """PyTorch's mask of padding: True is hidden."""
    return layer(x, src_key_padding_mask=is_padding)


def no_projection(x, kernel):
    """What comes out has the model's size, not one score for each token."""
    return x


def projection(x, kernel):
    """The output projection: scores for each token of the vocabulary."""
    return x @ kernel
