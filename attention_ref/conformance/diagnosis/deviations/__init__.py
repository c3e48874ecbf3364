"""The deviations that a diagnosis tries for each operation, most frequent first."""

from __future__ import annotations

from collections.abc import Mapping

from attention_ref.conformance.diagnosis.deviations.activation_deviations import ACTIVATION, FEEDFORWARD
from attention_ref.conformance.diagnosis.deviations.block_deviations import BLOCK
from attention_ref.conformance.diagnosis.deviations.causal_deviations import CAUSAL
from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.deviations.distance_bias_deviations import DISTANCE_BIAS, OF_DISTANCES
from attention_ref.conformance.diagnosis.deviations.embedding_deviations import EMBEDDED, EMBEDDING
from attention_ref.conformance.diagnosis.deviations.head_deviations import HEAD
from attention_ref.conformance.diagnosis.deviations.head_norm_deviations import HEAD_NORMS
from attention_ref.conformance.diagnosis.deviations.hidden_score_deviations import HIDDEN_SCORES
from attention_ref.conformance.diagnosis.deviations.latent_deviations import LATENT
from attention_ref.conformance.diagnosis.deviations.mask_deviations import MASK
from attention_ref.conformance.diagnosis.deviations.memory_deviations import MEMORY
from attention_ref.conformance.diagnosis.deviations.mixture_deviations import MIXTURE
from attention_ref.conformance.diagnosis.deviations.model_deviations import MODEL
from attention_ref.conformance.diagnosis.deviations.multihead_deviations import MULTIHEAD
from attention_ref.conformance.diagnosis.deviations.norm_deviations import NORMS
from attention_ref.conformance.diagnosis.deviations.other_scores_deviations import ADDITIVE, EVERY_RULE, MULTIPLICATIVE
from attention_ref.conformance.diagnosis.deviations.projection_deviations import PROJECTIONS
from attention_ref.conformance.diagnosis.deviations.rotary_deviations import ROTATIONS, PositionsOfFirstRow
from attention_ref.conformance.diagnosis.deviations.rotary_position_deviations import ROTARY_POSITIONS
from attention_ref.conformance.diagnosis.deviations.rotary_scaling_deviations import ROTARY_SCALINGS
from attention_ref.conformance.diagnosis.deviations.scale_deviations import SCALES
from attention_ref.conformance.diagnosis.deviations.scores_deviations import BIASES_OF_LAYERS, SCORES
from attention_ref.conformance.diagnosis.deviations.sinusoid_deviations import SINUSOIDS
from attention_ref.conformance.diagnosis.deviations.softmax_deviations import SOFTMAX
from attention_ref.conformance.diagnosis.deviations.value_deviations import VALUES
from attention_ref.conformance.diagnosis.deviations.visibility_deviations import VISIBILITY, VISIBILITY_OF_LAYERS
from attention_ref.conformance.diagnosis.deviations.window_deviations import WINDOW, WINDOW_BEHIND_CACHE

_ATTENTION = (*MASK, *CAUSAL, *WINDOW, *VISIBILITY, *HIDDEN_SCORES, *SCALES, *SCORES, *SOFTMAX, *VALUES)
_OTHER = (*EVERY_RULE, *_ATTENTION)
_ROTATIONS = (*ROTATIONS, *ROTARY_SCALINGS)
_MULTIHEAD = (
    *PROJECTIONS, *_ROTATIONS, *ROTARY_POSITIONS, *DISTANCE_BIAS, *MULTIHEAD, *VISIBILITY_OF_LAYERS, *BIASES_OF_LAYERS,
    *WINDOW_BEHIND_CACHE, *HEAD_NORMS,
)  # fmt: skip
_LAYER = (*NORMS, *_ATTENTION)
_BLOCK = (*BLOCK, *MEMORY)

DEVIATIONS: Mapping[str, tuple[type[Deviation], ...]] = {
    "attention": _ATTENTION,
    "additive_attention": (*ADDITIVE, *_OTHER),
    "multiplicative_attention": (*MULTIPLICATIVE, *_OTHER),
    "sinusoidal_positions": (*SINUSOIDS, PositionsOfFirstRow),
    "rotate": _ROTATIONS,
    **OF_DISTANCES,
    "linear": PROJECTIONS,
    "layer_norm": NORMS,
    "rms_norm": NORMS,
    "activate": ACTIVATION,
    "MultiHeadAttention": (*_MULTIHEAD, *_LAYER),
    "LatentAttention": (*LATENT, *PROJECTIONS, *_ROTATIONS, *ROTARY_POSITIONS, *NORMS, *_ATTENTION),
    "FeedForward": (*PROJECTIONS, *ACTIVATION, *FEEDFORWARD),
    "MixtureOfExperts": (*MIXTURE, *PROJECTIONS, *ACTIVATION, *FEEDFORWARD),
    "Block": (*_BLOCK, *_MULTIHEAD, *ACTIVATION, *FEEDFORWARD, *_LAYER, *MIXTURE),
    "Transformer": (
        *EMBEDDING, *MODEL, *HEAD, *_BLOCK, *SINUSOIDS, *EMBEDDED, *_MULTIHEAD, *ACTIVATION, *FEEDFORWARD, *_LAYER,
        *MIXTURE,
    ),
}  # fmt: skip
"""The deviations of each operation; of two that give the same numbers the earlier one is named."""

EVERY: tuple[type[Deviation], ...] = tuple(dict.fromkeys(each for some in DEVIATIONS.values() for each in some))
"""All deviations."""

__all__ = ["DEVIATIONS", "EVERY", "Deviation"]
