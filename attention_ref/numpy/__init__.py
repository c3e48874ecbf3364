"""Attention and the Transformer in NumPy: arrays in, arrays out, in the dtype they came in.

Its files are imported when they are first used. The examples in the docstrings begin with

    >>> import numpy as np
    >>> from attention_ref import spec, weights
    >>> from attention_ref.numpy import *
"""

from typing import TYPE_CHECKING

from attention_ref.spec.lazy_names import import_when_used

if TYPE_CHECKING:
    from attention_ref.numpy.attention import additive_attention, attention, multiplicative_attention
    from attention_ref.numpy.block import Block, BlockCache
    from attention_ref.numpy.caches import StaticCache, StaticLatentCache, static_cache
    from attention_ref.numpy.embedding import Embedding, count_without
    from attention_ref.numpy.experts import MixtureOfExperts
    from attention_ref.numpy.feedforward import FeedForward
    from attention_ref.numpy.head import Head, last_place
    from attention_ref.numpy.latent import LatentAttention, LatentCache
    from attention_ref.numpy.masks import causal_mask, length_mask, visible_keys, window_mask
    from attention_ref.numpy.model import Stack, Transformer
    from attention_ref.numpy.multihead import Cache, MultiHeadAttention, append_to_cache
    from attention_ref.numpy.positions import (
        alibi_bias,
        alibi_slopes,
        relative_bias,
        relative_bucket,
        rotary_amplitude,
        rotary_frequencies,
        rotate,
        sinusoidal_positions,
    )
    from attention_ref.numpy.primitives import (
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

import_when_used(
    __name__,
    {
        "attention_ref.numpy.attention": "additive_attention attention multiplicative_attention",
        "attention_ref.numpy.block": "Block BlockCache",
        "attention_ref.numpy.caches": "StaticCache StaticLatentCache static_cache",
        "attention_ref.numpy.embedding": "Embedding count_without",
        "attention_ref.numpy.experts": "MixtureOfExperts",
        "attention_ref.numpy.feedforward": "FeedForward",
        "attention_ref.numpy.head": "Head last_place",
        "attention_ref.numpy.latent": "LatentAttention LatentCache",
        "attention_ref.numpy.masks": "causal_mask length_mask visible_keys window_mask",
        "attention_ref.numpy.model": "Stack Transformer",
        "attention_ref.numpy.multihead": "Cache MultiHeadAttention append_to_cache",
        "attention_ref.numpy.positions": (
            "alibi_bias alibi_slopes relative_bias relative_bucket rotary_amplitude rotary_frequencies rotate "
            "sinusoidal_positions"
        ),
        "attention_ref.numpy.primitives": (
            "activate clipped dropout gelu gelu_tanh layer_norm linear log_sum_exp normalize normalize_heads "
            "quick_gelu relu relu_squared rms_norm silu softmax"
        ),
    },
)
