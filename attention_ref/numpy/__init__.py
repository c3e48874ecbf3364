"""Attention in NumPy: arrays in, arrays out, in the dtype they came in."""

from attention_ref.numpy.attention import additive_attention, attention, multiplicative_attention
from attention_ref.numpy.masks import causal_mask, length_mask, visible_keys, window_mask
from attention_ref.numpy.primitives import log_sum_exp, softmax

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
