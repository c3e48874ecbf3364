"""Mixtures of experts in named steps, each of which a deviation may replace."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.block_formula import BlockFormula
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import MixtureConfig
from attention_ref.spec.parameters import under


class MixtureFormula(BlockFormula):
    """A mixture of experts as specified."""

    def network(self, config: Any, parameters: Parameters, array: Array) -> Array:
        """Apply the feed-forward network of a block, or its mixture."""
        if isinstance(config, MixtureConfig):
            return self.mixture(config, parameters, array)
        return super().network(config, parameters, array)

    def mixture(self, config: MixtureConfig, parameters: Parameters, array: Array) -> Array:
        """Sum the outputs of the chosen experts of every token, and of the shared one."""
        scores = self.expert_scores(self.router_logits(parameters, array), config)  # (...,e)
        choice = self.choice_scores(scores, config, parameters)
        self.plain_scores = scores
        chosen = self.chosen_experts(choice, config)  # (...,chosen)
        weighing = self.weighing_scores(scores, choice)
        weights = self.expert_weights(np.take_along_axis(weighing, chosen, axis=-1), config)  # (...,chosen)
        weights = self.kept_weights(weights, chosen, config)
        output = np.zeros_like(array)
        for i in range(config.experts):
            is_own = chosen == i
            own = np.where(is_own, weights, 0.0).sum(axis=-1, keepdims=True)
            expert = self.feedforward(config.expert, under(parameters, f"experts.{i}"), array)
            output = output + np.where(is_own.any(axis=-1, keepdims=True), own * expert, 0.0)
        return output if config.shared is None else output + self.shared_output(config, parameters, array)

    def router_logits(self, parameters: Parameters, array: Array) -> Array:
        """Return the logits of the router, `(...,e)`."""
        return self.project(array, parameters, "router")

    def expert_scores(self, logits: Array, config: MixtureConfig) -> Array:
        """Turn logits into scores, `(...,e)`."""
        return softmax(logits) if config.scores == "softmax" else sigmoid(logits)

    def choice_scores(self, scores: Array, config: MixtureConfig, parameters: Parameters) -> Array:
        """Return the scores by which experts are chosen, `(...,e)`."""
        return scores + parameters["correction_bias"] if config.correction_bias else scores

    def chosen_experts(self, scores: Array, config: MixtureConfig) -> Array:
        """Return the numbers of the chosen experts, `(...,chosen)`."""
        if config.chosen_groups is not None:
            groups = self.compared_scores(scores).reshape(*scores.shape[:-1], config.groups, config.group_size)
            best = self.largest(self.group_scores(groups, config), config.chosen_groups)  # (...,chosen_groups)
            is_allowed = (np.arange(config.groups) == best[..., None]).any(axis=-2)  # (...,groups)
            scores = np.where(np.repeat(is_allowed, config.group_size, axis=-1), scores, -np.inf)
        return self.largest(scores, config.chosen)

    def compared_scores(self, scores: Array) -> Array:
        """Return the scores by which groups are compared: those that experts are chosen by."""
        return scores

    def weighing_scores(self, scores: Array, choice: Array) -> Array:  # noqa: ARG002
        """Return the scores that become weights: those without the bias of correction."""
        return scores

    def kept_weights(self, weights: Array, chosen: Array, config: MixtureConfig) -> Array:  # noqa: ARG002
        """Return the weights unchanged: no token is dropped."""
        return weights

    def group_scores(self, groups: Array, config: MixtureConfig) -> Array:
        """Return the score of each group, `(...,groups)` of `(...,groups,e/groups)`."""
        count = 2 if config.group_score == "two_largest" else 1
        return np.sort(groups, axis=-1)[..., -count:].sum(axis=-1)

    def largest(self, scores: Array, count: int) -> Array:
        """Return where the largest scores are; of equal ones the first, and NaN as infinity."""
        return np.argsort(-np.where(np.isnan(scores), np.inf, scores), axis=-1, kind="stable")[..., :count]

    def expert_weights(self, scores: Array, config: MixtureConfig) -> Array:
        """Turn the scores of the chosen experts into their weights, `(...,chosen)`."""
        return self.expert_scale(config) * (self.normalised(scores) if config.normalised else scores)

    def normalised(self, scores: Array) -> Array:
        """Divide the scores of the chosen experts by their sum."""
        return scores / scores.sum(axis=-1, keepdims=True)

    def expert_scale(self, config: MixtureConfig) -> float:
        """Return the factor of the weights."""
        return config.scale

    def shared_output(self, config: MixtureConfig, parameters: Parameters, array: Array) -> Array:
        """Return the output of the shared expert."""
        shared: Any = config.shared
        output = self.feedforward(shared, under(parameters, "shared"), array)
        return self.shared_weight(config, parameters, array) * output

    def shared_weight(self, config: MixtureConfig, parameters: Parameters, array: Array) -> Array:
        """Return the weight of the shared expert, `(...,1)`."""
        if not config.shared_gate:
            return np.ones((*array.shape[:-1], 1))
        return sigmoid(self.project(array, parameters, "shared_gate"))


def softmax(logits: Array) -> Array:
    """Return the softmax over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def sigmoid(logits: Array) -> Array:
    """Return `1 / (1 + exp(-x))`."""
    return np.asarray(1 / (1 + np.exp(-logits)))
