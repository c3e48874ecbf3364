"""Attention in PyTorch: tensors in, tensors out, on the device and in the dtype they came in."""

from attention_ref.torch.attention import additive_attention, attention, multiplicative_attention
from attention_ref.torch.masks import causal_mask, length_mask, visible_keys, window_mask
from attention_ref.torch.primitives import log_sum_exp, softmax

__all__ = [
    "additive_attention",
    "attention",
    "causal_mask",
    "length_mask",
    "log_sum_exp",
    "multiplicative_attention",
    "softmax",
    "visible_keys",
    "window_mask",
]
