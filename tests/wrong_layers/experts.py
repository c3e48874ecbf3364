"""Mistakes in mixtures of experts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import experts
from attention_ref.spec.config import FeedForwardConfig, MixtureConfig
from tests.wrong_layers.record import WrongLayer, configured, patched

_LARGEST, _MIXED, _ROUTE, _CHOOSE = (
    experts._largest,
    right.MixtureOfExperts._mixed,
    right.MixtureOfExperts._route,
    right.MixtureOfExperts._choose,
)


def _unweighted(self, array, chosen, weights):
    return _MIXED(self, array, chosen, np.ones_like(weights))


def _full(self, array, chosen, weights):
    """Drop the tokens beyond the capacity of an expert, an even share of all."""
    capacity = -(-chosen.size // self.config.experts)
    kept = np.array(weights)
    for i in range(self.config.experts):
        late = np.argwhere(chosen == i)[capacity:]
        kept[tuple(late.T)] = 0
    return _MIXED(self, array, chosen, kept)


def _chosen_for_all(self, scores):
    return np.broadcast_to(_CHOOSE(self, scores.mean(axis=tuple(range(scores.ndim - 1)))), _CHOOSE(self, scores).shape)


def _last_of_equals(scores, count):
    return scores.shape[-1] - 1 - _LARGEST(scores[..., ::-1], count)


def _nan_last(scores, count):
    return np.argsort(-scores, axis=-1, kind="stable")[..., :count]


def _correction_weighs(self, logits):
    if not self.config.correction_bias:
        return _ROUTE(self, logits)
    scores = experts._sigmoid(logits) + self.parameters["correction_bias"]
    chosen, _ = _ROUTE(self, logits)
    weights = np.take_along_axis(scores, chosen, axis=-1)
    return chosen, self.config.scale * weights / weights.sum(axis=-1, keepdims=True)


def _groups_without_correction(self, scores):
    if self.config.chosen_groups is None:
        return _CHOOSE(self, scores)
    groups = scores.reshape(*scores.shape[:-1], self.config.groups, -1)
    best = _LARGEST(np.sort(groups)[..., -2:].sum(axis=-1), self.config.chosen_groups)
    is_allowed = (np.arange(self.config.groups) == best[..., None]).any(axis=-2)
    corrected = scores + self.parameters.get("correction_bias", 0)
    return _LARGEST(np.where(np.repeat(is_allowed, self.config.group_size, axis=-1), corrected, -9), self.config.chosen)


def _scale_before_the_sum(config):
    return replace(config, scale=1.0) if config.normalised else config


def _scaled_shared(config, parameters):
    layer = right.MixtureOfExperts(config, parameters)
    shared = layer.shared
    if shared is not None:
        layer.shared = lambda array, tap: config.scale * shared(array, tap=tap)
    return layer


def _limited_on_both_sides(array, limit, *, one_sided=False):  # noqa: ARG001 - the mistake
    return np.clip(array, -limit, limit)


def _mixture(**changes):
    return configured(MIXTURE, MixtureConfig, lambda config: replace(config, **changes))


def _network(**changes):
    return configured("FeedForward", FeedForwardConfig, lambda config: replace(config, **changes))


MIXTURE = "MixtureOfExperts"
MISTAKES = (
    WrongLayer(
        "The largest absolute input is unlimited",
        "feedforward.clip",
        "FeedForward",
        _network(clip=None),
        slug="gate.limit-missing",
    ),
    WrongLayer(
        "The gate is limited from below too",
        "feedforward.clip",
        "FeedForward",
        patched("FeedForward", right.feedforward.primitives, "clipped", _limited_on_both_sides),
        slug="gate.limited-below",
    ),
    WrongLayer(
        "Nothing is added",
        "feedforward.input-offset",
        "FeedForward",
        _network(input_offset=0.0),
        slug="gate.input-offset-missing",
    ),
    WrongLayer(
        "Outputs summed without weights",
        "mixture.formula",
        MIXTURE,
        patched(MIXTURE, right.MixtureOfExperts, "_mixed", _unweighted),
        pervasive=True,
        slug="experts.unweighted",
    ),
    WrongLayer(
        "Tokens beyond a capacity are dropped",
        "mixture.each-token",
        MIXTURE,
        patched(MIXTURE, right.MixtureOfExperts, "_mixed", _full),
        pervasive=True,
        slug="experts.capacity",
    ),
    WrongLayer(
        "The same experts for the whole batch",
        "mixture.each-token",
        MIXTURE,
        patched(MIXTURE, right.MixtureOfExperts, "_choose", _chosen_for_all),
        pervasive=True,
        slug="experts.same-for-batch",
    ),
    WrongLayer(
        "The last of equal scores",
        "mixture.ties",
        MIXTURE,
        patched(MIXTURE, experts, "_largest", _last_of_equals),
        slug="experts.ties-last",
    ),
    WrongLayer(
        "A sigmoid for the softmax", "mixture.softmax", MIXTURE, _mixture(scores="sigmoid"), slug="experts.sigmoid"
    ),
    WrongLayer(
        "A softmax for the sigmoid", "mixture.sigmoid", MIXTURE, _mixture(scores="softmax"), slug="experts.softmax"
    ),
    WrongLayer(
        "Weights that do not sum to 1",
        "mixture.normalised",
        MIXTURE,
        _mixture(normalised=False),
        slug="experts.not-normalised",
    ),
    WrongLayer(
        "The softmax over the chosen logits alone",
        "mixture.not-normalised",
        MIXTURE,
        _mixture(normalised=True),
        slug="experts.normalised",
    ),
    WrongLayer("Weights are not scaled", "mixture.scale", MIXTURE, _mixture(scale=1.0), slug="experts.scale-missing"),
    WrongLayer(
        "The scale before the normalisation",
        "mixture.scale",
        MIXTURE,
        configured(MIXTURE, MixtureConfig, _scale_before_the_sum),
        slug="experts.scale-cancelled",
    ),
    WrongLayer(
        "The shared expert is scaled too", "mixture.scale", MIXTURE, _scaled_shared, slug="experts.shared-scaled"
    ),
    WrongLayer(
        "A router without its bias",
        "mixture.router-bias",
        MIXTURE,
        _mixture(router_bias=False),
        slug="experts.router-bias-missing",
    ),
    WrongLayer(
        "The bias of correction weighs",
        "mixture.correction",
        MIXTURE,
        patched(MIXTURE, right.MixtureOfExperts, "_route", _correction_weighs),
        slug="experts.correction-weighs",
    ),
    WrongLayer(
        "The bias of correction is ignored",
        "mixture.correction",
        MIXTURE,
        _mixture(correction_bias=False),
        slug="experts.correction-missing",
    ),
    WrongLayer(
        "Experts of every group",
        "mixture.groups",
        MIXTURE,
        _mixture(chosen_groups=None, group_score="largest"),
        slug="experts.groups-ignored",
    ),
    WrongLayer(
        "Groups compared without the bias of correction",
        "mixture.correction",
        MIXTURE,
        patched(MIXTURE, right.MixtureOfExperts, "_choose", _groups_without_correction),
        slug="experts.groups-uncorrected",
    ),
    WrongLayer(
        "Groups by their largest score",
        "mixture.group-sum",
        MIXTURE,
        _mixture(group_score="largest"),
        slug="experts.group-largest",
    ),
    WrongLayer(
        "No shared expert",
        "mixture.shared",
        MIXTURE,
        _mixture(shared=None, shared_gate=False),
        slug="experts.shared-missing",
    ),
    WrongLayer(
        "A shared expert without its gate",
        "mixture.shared-gate",
        MIXTURE,
        _mixture(shared_gate=False),
        slug="experts.shared-gate-missing",
    ),
)
