"""Article D in PyTorch: a two-layer tanh network in the place of attention."""

from __future__ import annotations

import torch
from torch import nn


class TanhOverKeys(nn.Module):
    """The network reads a row of scores: its input is as long as there are keys."""

    def __init__(self, model):
        super().__init__()
        self.first = nn.Linear(model, model)
        self.second = nn.Linear(model, model)

    def forward(self, query, key, value):
        """Apply it; no scale, no softmax, no value."""
        scores = query @ key.mT
        return self.second(torch.tanh(self.first(scores)))


def tanh_over_keys(query, key, value, *, score_kernel):
    """The module, made for the size of the queries."""
    return TanhOverKeys(query.shape[-1]).to(query.dtype)(query, key, value)


def tanh_of_query_and_key(query, key, value, *, score_kernel):
    """Bahdanau: the network reads a query and a key, gives one score, and softmax follows."""
    scores = torch.tanh(query[..., :, None, :] + key[..., None, :, :]) @ score_kernel  # (b,h,q,k)
    return torch.softmax(scores, dim=-1) @ value


def values_ignored(query, key, value):
    """The weights are the result."""
    return torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1)


def no_scale(query, key, value):
    """Inner products as they are."""
    return torch.softmax(query @ key.mT, dim=-1) @ value


def no_softmax(query, key, value):
    """A tanh keeps numbers small, but they are no weights."""
    return torch.tanh(query @ key.mT / query.shape[-1] ** 0.5) @ value


def attention(query, key, value):
    """Scale, softmax, values."""
    return torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1) @ value
