"""Common mistakes in mixtures of experts."""

from __future__ import annotations

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.mixture_formula import sigmoid, softmax
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
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


class ExpertsUnweighted(Deviation):
    """The outputs of the chosen experts are summed without weights."""

    slug = "experts.unweighted"
    clause = "mixture.formula"
    correction = "multiply the output of each chosen expert by its weight"

    def kept_weights(self, weights: Array, chosen: Array, config: MixtureConfig) -> Array:
        return np.ones_like(weights)


class ExpertsCapacity(Deviation):
    """Tokens beyond an even share of all are dropped from an expert."""

    slug = "experts.capacity"
    clause = "mixture.each-token"
    correction = "let every token reach each of its chosen experts"

    def kept_weights(self, weights: Array, chosen: Array, config: MixtureConfig) -> Array:
        capacity, kept = -(-chosen.size // config.experts), np.array(weights)
        for i in range(config.experts):
            kept[tuple(np.argwhere(chosen == i)[capacity:].T)] = 0
        return kept


class ExpertsForBatch(Deviation):
    """The experts are chosen by the mean scores of all tokens."""

    slug = "experts.same-for-batch"
    clause = "mixture.each-token"
    correction = "choose the experts of each token by its own scores"

    def chosen_experts(self, scores: Array, config: MixtureConfig) -> Array:
        mean = scores.mean(axis=tuple(range(scores.ndim - 1)), keepdims=True)
        return super().chosen_experts(np.broadcast_to(mean, scores.shape), config)


class ExpertsSigmoid(Deviation):
    """The scores are the sigmoid of each logit, not their softmax."""

    slug = "experts.sigmoid"
    clause = "mixture.softmax"
    correction = "scores = softmax(logits)"

    def expert_scores(self, logits: Array, config: MixtureConfig) -> Array:
        return sigmoid(logits)


class ExpertsScaleCancelled(Deviation):
    """The scale multiplies the scores before they are divided by their sum, which cancels it."""

    slug = "experts.scale-cancelled"
    clause = "mixture.scale"
    correction = "normalise first, then scale"

    def expert_scale(self, config: MixtureConfig) -> float:
        return 1.0 if config.normalised else super().expert_scale(config)


class ExpertsSharedScaled(Deviation):
    """The output of the shared expert is multiplied by the scale too."""

    slug = "experts.shared-scaled"
    clause = "mixture.scale"
    correction = "scale the weights of the chosen experts alone"

    def shared_output(self, config: MixtureConfig, parameters: Parameters, array: Array) -> Array:
        return config.scale * super().shared_output(config, parameters, array)


class ExpertsCorrectionWeighs(Deviation):
    """The bias of correction is part of the weights."""

    slug = "experts.correction-weighs"
    clause = "mixture.correction"
    correction = "choose by score + correction_bias, and weigh by the score"

    def weighing_scores(self, scores: Array, choice: Array) -> Array:
        return choice


class ExpertsGroupsUncorrected(Deviation):
    """Groups are compared without the bias of correction."""

    slug = "experts.groups-uncorrected"
    clause = "mixture.correction"
    correction = "compare groups by score + correction_bias"

    def compared_scores(self, scores: Array) -> Array:
        return self.plain_scores


MIXTURE: tuple[type[Deviation], ...] = (
    ExpertsNotNormalised, ExpertsNormalised, ExpertsSoftmax, ExpertsScaleMissing, ExpertsRouterBiasMissing,
    ExpertsCorrectionMissing, ExpertsGroupsIgnored, ExpertsGroupLargest, ExpertsTiesLast, ExpertsSharedMissing,
    ExpertsSharedGateMissing, ExpertsUnweighted, ExpertsCapacity, ExpertsForBatch, ExpertsSigmoid,
    ExpertsScaleCancelled, ExpertsSharedScaled, ExpertsCorrectionWeighs, ExpertsGroupsUncorrected,
)  # fmt: skip
