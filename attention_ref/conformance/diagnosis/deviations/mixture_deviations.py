"""Common mistakes in mixtures of experts."""

from __future__ import annotations

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.layer_formula import Parameters
from attention_ref.conformance.diagnosis.mixture_formula import softmax
from attention_ref.spec.config import MixtureConfig


class ExpertsNotNormalised(Deviation):
    """The weights of the chosen experts are their scores, not divided by their sum."""

    slug = "experts.not-normalised"
    clause = "mixture.normalised"
    correction = "w_i = score_i / sum of the chosen scores"

    def normalised(self, scores: Array) -> Array:
        return scores


class ExpertsNormalised(Deviation):
    """The weights are divided by their sum, or the softmax is taken over the chosen logits alone, unasked."""

    slug = "experts.normalised"
    clause = "mixture.not-normalised"
    correction = "w_i = score_i, where normalised is False"

    def expert_weights(self, scores: Array, config: MixtureConfig) -> Array:
        return super().expert_weights(scores if config.normalised else self.normalised(scores), config)


class ExpertsSoftmax(Deviation):
    """The scores are a softmax, not the sigmoid of each logit."""

    slug = "experts.softmax"
    clause = "mixture.sigmoid"
    correction = "score_i = sigmoid(logit_i)"

    def expert_scores(self, logits: Array, config: MixtureConfig) -> Array:
        return softmax(logits)


class ExpertsScaleMissing(Deviation):
    """The weights are not multiplied by the scale."""

    slug = "experts.scale-missing"
    clause = "mixture.scale"
    correction = "scale * w_i"

    def expert_scale(self, config: MixtureConfig) -> float:
        return 1.0


class ExpertsRouterBiasMissing(Deviation):
    """The router's bias is not added."""

    slug = "experts.router-bias-missing"
    clause = "mixture.router-bias"
    correction = "logits = x W_router + b_router"

    def router_logits(self, parameters: Parameters, array: Array) -> Array:
        return self.linear(array, parameters["router.kernel"])


class ExpertsCorrectionMissing(Deviation):
    """Experts are chosen without the bias of correction."""

    slug = "experts.correction-missing"
    clause = "mixture.correction"
    correction = "the largest score_i + correction_bias_i are chosen"

    def choice_scores(self, scores: Array, config: MixtureConfig, parameters: Parameters) -> Array:
        return scores


class ExpertsGroupsIgnored(Deviation):
    """Experts are chosen from every group."""

    slug = "experts.groups-ignored"
    clause = "mixture.groups"
    correction = "experts of the chosen groups alone"

    def chosen_experts(self, scores: Array, config: MixtureConfig) -> Array:
        return self.largest(scores, config.chosen)


class ExpertsGroupLargest(Deviation):
    """Groups are compared by their largest score, not by the sum of the two largest."""

    slug = "experts.group-largest"
    clause = "mixture.group-sum"
    correction = "the sum of the two largest scores of each group"

    def group_scores(self, groups: Array, config: MixtureConfig) -> Array:
        return np.asarray(groups.max(axis=-1))


class ExpertsTiesLast(Deviation):
    """Of equal scores, that of the last expert counts as larger."""

    slug = "experts.ties-last"
    clause = "mixture.ties"
    correction = "the expert with the lowest number first"

    def largest(self, scores: Array, count: int) -> Array:
        last = scores.shape[-1] - 1
        return np.asarray(last - super().largest(scores[..., ::-1], count))


class ExpertsSharedMissing(Deviation):
    """The output of the shared expert is not added."""

    slug = "experts.shared-missing"
    clause = "mixture.shared"
    correction = "the sum of the chosen experts + shared(x)"

    def shared_output(self, config: MixtureConfig, parameters: Parameters, array: Array) -> Array:
        return np.zeros_like(array)


class ExpertsSharedGateMissing(Deviation):
    """The weight of the shared expert is 1, not that of its gate."""

    slug = "experts.shared-gate-missing"
    clause = "mixture.shared-gate"
    correction = "sigmoid(x W_shared_gate) * shared(x)"

    def shared_weight(self, config: MixtureConfig, parameters: Parameters, array: Array) -> Array:
        return np.ones((*array.shape[:-1], 1))


MIXTURE: tuple[type[Deviation], ...] = (
    ExpertsNotNormalised,
    ExpertsNormalised,
    ExpertsSoftmax,
    ExpertsScaleMissing,
    ExpertsRouterBiasMissing,
    ExpertsCorrectionMissing,
    ExpertsGroupsIgnored,
    ExpertsGroupLargest,
    ExpertsTiesLast,
    ExpertsSharedMissing,
    ExpertsSharedGateMissing,
)
