"""The deviations that a diagnosis tries for each operation, most frequent first."""

from __future__ import annotations

from collections.abc import Mapping

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.deviations.latent_deviations import LATENT
from attention_ref.conformance.diagnosis.deviations.layer_deviations import BLOCK, FEEDFORWARD, MULTIHEAD
from attention_ref.conformance.diagnosis.deviations.mixture_deviations import MIXTURE
from attention_ref.conformance.diagnosis.deviations.model_deviations import MODEL
from attention_ref.conformance.diagnosis.deviations.norm_deviations import ACTIVATION, HEAD_NORMS, NORMS
from attention_ref.conformance.diagnosis.deviations.other_scores_deviations import (
    ADDITIVE,
    EVERY_RULE,
    MULTIPLICATIVE,
)
from attention_ref.conformance.diagnosis.deviations.position_deviations import (
    ALIBI,
    EMBEDDED,
    PLACES,
    RELATIVE,
    ROTATIONS,
    SINUSOIDS,
)
from attention_ref.conformance.diagnosis.deviations.projection_deviations import PROJECTIONS
from attention_ref.conformance.diagnosis.deviations.scores_deviations import SCORES
from attention_ref.conformance.diagnosis.deviations.visibility_deviations import VISIBILITY
from attention_ref.conformance.diagnosis.deviations.weights_deviations import WEIGHTS

_ATTENTION = (*VISIBILITY, *SCORES, *WEIGHTS)
_OTHER = (*EVERY_RULE, *_ATTENTION)
_DISTANCE = tuple(dict.fromkeys([*ALIBI, *RELATIVE]))
_MULTIHEAD = (*PROJECTIONS, *ROTATIONS, *PLACES, *MULTIHEAD, *HEAD_NORMS)
_LAYER = (*NORMS, *_ATTENTION, *_DISTANCE)

DEVIATIONS: Mapping[str, tuple[type[Deviation], ...]] = {
    "attention": _ATTENTION,
    "additive_attention": (*ADDITIVE, *_OTHER),
    "multiplicative_attention": (*MULTIPLICATIVE, *_OTHER),
    "sinusoidal_positions": SINUSOIDS,
    "rotate": ROTATIONS,
    "alibi_bias": ALIBI,
    "relative_bias": RELATIVE,
    "linear": PROJECTIONS,
    "layer_norm": NORMS,
    "rms_norm": NORMS,
    "activate": ACTIVATION,
    "MultiHeadAttention": (*_MULTIHEAD, *_LAYER),
    "LatentAttention": (*LATENT, *PROJECTIONS, *ROTATIONS, *PLACES, *NORMS, *_ATTENTION),
    "FeedForward": (*PROJECTIONS, *ACTIVATION, *FEEDFORWARD),
    "MixtureOfExperts": (*MIXTURE, *PROJECTIONS, *ACTIVATION, *FEEDFORWARD),
    "Block": (*BLOCK, *_MULTIHEAD, *ACTIVATION, *FEEDFORWARD, *_LAYER),
    "Transformer": (*MODEL, *BLOCK, *SINUSOIDS, *EMBEDDED, *_MULTIHEAD, *ACTIVATION, *FEEDFORWARD, *_LAYER),
}
"""The deviations of each operation; of two that give the same numbers the earlier one is named."""

EVERY: tuple[type[Deviation], ...] = tuple(dict.fromkeys(each for some in DEVIATIONS.values() for each in some))
"""All deviations."""

__all__ = ["DEVIATIONS", "EVERY", "Deviation"]
