"""The executable specification: what attention and the Transformer compute, in plain Python.

It imports nothing but the standard library and runs on any number type in `attention_ref.spec.numbers`.
"""

from typing import TYPE_CHECKING

from attention_ref.spec.lazy_names import import_when_used

if TYPE_CHECKING:
    from attention_ref.spec.architecture import (
        Audio,
        EmbeddingConfig,
        HeadConfig,
        ModelConfig,
        Patches,
        StackConfig,
    )
    from attention_ref.spec.arrays import Array, as_array
    from attention_ref.spec.attention import additive_attention, attention, multiplicative_attention
    from attention_ref.spec.block import Block
    from attention_ref.spec.config import (
        AttentionConfig,
        BlockConfig,
        FeedForwardConfig,
        LatentAttentionConfig,
        Learned,
        MixtureConfig,
        Norm,
        RelativeBias,
        Rotary,
        RotaryScaling,
        Sinusoid,
    )
    from attention_ref.spec.errors import FileError, SpecificationError
    from attention_ref.spec.experts import MixtureOfExperts
    from attention_ref.spec.feedforward import FeedForward
    from attention_ref.spec.latent import LatentAttention
    from attention_ref.spec.masks import causal_mask, length_mask, visible_keys, window_mask
    from attention_ref.spec.model import Transformer
    from attention_ref.spec.multihead import MultiHeadAttention
    from attention_ref.spec.presets import vaswani2017_base, vaswani2017_big
    from attention_ref.spec.primitives import log_sum_exp, softmax
    from attention_ref.spec.trace import Traced

VERSION = "2026.11"
"""The version of the specification. A clause never changes its meaning inside a version."""

__all__ = [
    "VERSION",
    "Array",
    "AttentionConfig",
    "Audio",
    "Block",
    "BlockConfig",
    "EmbeddingConfig",
    "FeedForward",
    "FeedForwardConfig",
    "FileError",
    "HeadConfig",
    "LatentAttention",
    "LatentAttentionConfig",
    "Learned",
    "MixtureConfig",
    "MixtureOfExperts",
    "ModelConfig",
    "MultiHeadAttention",
    "Norm",
    "Patches",
    "RelativeBias",
    "Rotary",
    "RotaryScaling",
    "Sinusoid",
    "SpecificationError",
    "StackConfig",
    "Traced",
    "Transformer",
    "additive_attention",
    "as_array",
    "attention",
    "causal_mask",
    "length_mask",
    "log_sum_exp",
    "multiplicative_attention",
    "softmax",
    "vaswani2017_base",
    "vaswani2017_big",
    "visible_keys",
    "window_mask",
]

import_when_used(
    __name__,
    {
        "attention_ref.spec.architecture": "Audio EmbeddingConfig HeadConfig ModelConfig Patches StackConfig",
        "attention_ref.spec.arrays": "Array as_array",
        "attention_ref.spec.attention": "additive_attention attention multiplicative_attention",
        "attention_ref.spec.block": "Block",
        "attention_ref.spec.config": (
            "AttentionConfig BlockConfig FeedForwardConfig LatentAttentionConfig Learned MixtureConfig Norm "
            "RelativeBias Rotary RotaryScaling Sinusoid"
        ),
        "attention_ref.spec.errors": "FileError SpecificationError",
        "attention_ref.spec.experts": "MixtureOfExperts",
        "attention_ref.spec.feedforward": "FeedForward",
        "attention_ref.spec.latent": "LatentAttention",
        "attention_ref.spec.masks": "causal_mask length_mask visible_keys window_mask",
        "attention_ref.spec.model": "Transformer",
        "attention_ref.spec.multihead": "MultiHeadAttention",
        "attention_ref.spec.presets": "vaswani2017_base vaswani2017_big",
        "attention_ref.spec.primitives": "log_sum_exp softmax",
        "attention_ref.spec.trace": "Traced",
    },
)
