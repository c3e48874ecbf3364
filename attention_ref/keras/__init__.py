"""Attention and the Transformer in Keras, on whichever engine it runs: tensors in, tensors out.

The examples in the docstrings begin with

    >>> from keras import ops
    >>> from attention_ref import spec, weights
    >>> from attention_ref.keras import *
"""

from attention_ref.spec.packages import require as _require

_require("attention_ref.keras", "keras", extra="keras-tensorflow")

from attention_ref.keras.attention import additive_attention, attention, multiplicative_attention
from attention_ref.keras.block import Block, BlockCache
from attention_ref.keras.caches import StaticCache, StaticLatentCache, static_cache
from attention_ref.keras.embedding import Embedding, count_without
from attention_ref.keras.experts import MixtureOfExperts
from attention_ref.keras.feedforward import FeedForward
from attention_ref.keras.head import Head, last_place
from attention_ref.keras.latent import LatentAttention, LatentCache
from attention_ref.keras.masks import causal_mask, length_mask, visible_keys, window_mask
from attention_ref.keras.model import Stack, Transformer
from attention_ref.keras.multihead import Cache, MultiHeadAttention, append_to_cache
from attention_ref.keras.positions import (
    alibi_bias,
    alibi_slopes,
    relative_bias,
    relative_bucket,
    rotary_amplitude,
    rotary_frequencies,
    rotate,
    sinusoidal_positions,
)
from attention_ref.keras.primitives import (
    activate,
    clipped,
    dropout,
    gelu,
    gelu_tanh,
    layer_norm,
    linear,
    log_sum_exp,
    normalize,
    normalize_heads,
    quick_gelu,
    relu,
    relu_squared,
    rms_norm,
    silu,
    softmax,
)

__all__ = [
    "Block",
    "BlockCache",
    "Cache",
    "Embedding",
    "FeedForward",
    "Head",
    "LatentAttention",
    "LatentCache",
    "MixtureOfExperts",
    "MultiHeadAttention",
    "Stack",
    "StaticCache",
    "StaticLatentCache",
    "Transformer",
    "activate",
    "additive_attention",
    "alibi_bias",
    "alibi_slopes",
    "append_to_cache",
    "attention",
    "causal_mask",
    "clipped",
    "count_without",
    "dropout",
    "gelu",
    "gelu_tanh",
    "last_place",
    "layer_norm",
    "length_mask",
    "linear",
    "log_sum_exp",
    "multiplicative_attention",
    "normalize",
    "normalize_heads",
    "quick_gelu",
    "relative_bias",
    "relative_bucket",
    "relu",
    "relu_squared",
    "rms_norm",
    "rotary_amplitude",
    "rotary_frequencies",
    "rotate",
    "silu",
    "sinusoidal_positions",
    "softmax",
    "static_cache",
    "visible_keys",
    "window_mask",
]
