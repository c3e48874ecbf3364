"""Attention in PyTorch (articles A, B and E)."""

from __future__ import annotations

import torch

import attention_ref.torch as ar


def cross_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Attend to the real keys of each batch row."""
    return ar.attention(query, key, value, key_lengths=lengths)


def self_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend to what came before; give the weights too."""
    return ar.attention(query, key, value, causal=True, return_weights=True)
