"""Attention in Keras, on whichever engine it runs: tensors in, tensors out, in the dtype they came in."""

from attention_ref.keras.attention import additive_attention, attention, multiplicative_attention
from attention_ref.keras.masks import causal_mask, length_mask, visible_keys, window_mask
from attention_ref.keras.primitives import log_sum_exp, softmax

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
