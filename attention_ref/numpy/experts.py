"""A mixture of experts: feed-forward networks, of which a router chooses a few for each token."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attention_ref.numpy import primitives
from attention_ref.numpy._arrays import Array, inspect, widen
from attention_ref.numpy.feedforward import FeedForward
from attention_ref.spec.config import MixtureConfig
from attention_ref.spec.layer_checks import check_mixture
from attention_ref.spec.parameters import check_arrays, under
from attention_ref.spec.taps import Tap, report, scoped


class MixtureOfExperts:
    """Experts, each a feed-forward network, of which every token goes to the few that its router chooses.

        scores  = softmax(x W_router + b_router)             over the experts, or sigmoid
        C       = the `chosen` experts with the largest scores + correction_bias
        w_i     = scale * scores_i / sum_{j in C} scores_j   for i in C; not divided unless `normalised`
        y       = sum_{i in C} w_i expert_i(x) + w_shared shared(x)

    Every token is routed by itself, and none is left out, however many others an expert has. Of experts with equal
    scores, the first is chosen; NaN counts as infinite. With `chosen_groups`, the groups with the largest scores are
    chosen first, and experts of these groups alone. The weight of the shared expert is 1, or sigmoid(x W_shared_gate).

    Arguments:
        config: sizes and options.
        parameters: `router.kernel (m,e)`, those of `FeedForward` under `experts.0` and so on and, if configured,
            `router.bias (e)`, `correction_bias (e)`, those of `FeedForward` under `shared`, `shared_gate.kernel (m,1)`.

    Raises:
        SpecificationError: for parameters that do not match the configuration.

    Example:
        >>> expert = spec.FeedForwardConfig(model=8, hidden=16)
        >>> config = spec.MixtureConfig(expert=expert, experts=4, chosen=2)
        >>> layer = MixtureOfExperts(config, weights.init(config))
        >>> layer(np.zeros((1, 3, 8), np.float32)).shape
        (1, 3, 8)
    """

    def __init__(self, config: MixtureConfig, parameters: Mapping[str, Array]) -> None:
        check_arrays("MixtureOfExperts", config, parameters)
        self.config = config
        self.parameters = dict(parameters)
        self.experts = [FeedForward(config.expert, under(parameters, f"experts.{i}")) for i in range(config.experts)]
        self.shared = FeedForward(config.shared, under(parameters, "shared")) if config.shared is not None else None

    def __call__(self, array: Array, *, tap: Tap | None = None) -> Array:
        """Apply the experts that are chosen at every position.

        Arguments:
            array: `(..., m)`.
            tap: receives `router`, the logits `(..., e)`; `chosen`, the numbers of the chosen experts `(..., chosen)`,
                that with the largest score first; `weights`, theirs `(..., chosen)`; `routed`, the sum of their outputs
                `(..., m)`; everything under `shared`, and `shared_gate`, its weight `(..., 1)`; and `output`.

        Returns:
            `(..., m)`.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        given = {"array": array, "router.kernel": self.parameters["router.kernel"], "tap": tap}
        check_mixture(self.config, given, inspect)
        logits = report(tap, "router", self._linear(array, "router"))  # (...,e)
        chosen, weights = self._route(logits)
        report(tap, "chosen", chosen)
        report(tap, "weights", weights)
        output = report(tap, "routed", self._mixed(array, chosen, weights))  # (...,m)
        if self.shared is not None:
            shared = self.shared(array, tap=scoped(tap, "shared"))  # (...,m)
            if self.config.shared_gate:
                gate = _sigmoid(widen(self._linear(array, "shared_gate"))).astype(array.dtype)
                shared = report(tap, "shared_gate", gate) * shared
            output = output + shared
        return report(tap, "output", output)

    def _route(self, logits: Array) -> tuple[Array, Array]:
        """Return the chosen experts of every token and their weights, `(..., chosen)`."""
        config, wide = self.config, widen(logits)
        scores = primitives.softmax(wide) if config.scores == "softmax" else _sigmoid(wide)  # (...,e)
        chosen = self._choose(scores)
        weights = np.take_along_axis(scores, chosen, axis=-1)  # (...,chosen)
        if config.normalised:
            denominator = weights.sum(axis=-1, keepdims=True)
            weights = weights / np.where(denominator == 0, 1, denominator)  # where all sigmoids underflow
        return chosen, (weights * config.scale).astype(logits.dtype)

    def _choose(self, scores: Array) -> Array:
        """Return the numbers of the chosen experts of every token, that with the largest score first."""
        config, leading = self.config, scores.shape[:-1]
        if config.correction_bias:
            scores = scores + widen(self.parameters["correction_bias"])
        if config.chosen_groups is None:
            return _largest(scores, config.chosen)
        size, count = config.group_size, 2 if config.group_score == "two_largest" else 1
        groups = scores.reshape(*leading, config.groups, size)
        group_scores = np.take_along_axis(groups, _largest(groups, count), axis=-1).sum(axis=-1)  # (...,groups)
        allowed = np.sort(_largest(group_scores, config.chosen_groups), axis=-1)[..., None]
        candidates = (allowed * size + np.arange(size)).reshape(*leading, config.chosen_groups * size)
        best = _largest(np.take_along_axis(scores, candidates, axis=-1), config.chosen)
        return np.take_along_axis(candidates, best, axis=-1)

    def _mixed(self, array: Array, chosen: Array, weights: Array) -> Array:
        """Return the weighted sum of the outputs of the chosen experts."""
        tokens, count = array.reshape(-1, array.shape[-1]), self.config.chosen  # (n,m)
        chosen, weights = chosen.reshape(-1, count), widen(weights).reshape(-1, count)  # (n,chosen)
        output = np.zeros_like(widen(tokens))
        for i in np.unique(chosen):
            rows, places = np.nonzero(chosen == i)  # the tokens of this expert
            output[rows] += weights[rows, places, None] * widen(self.experts[i](tokens[rows]))
        return output.astype(array.dtype).reshape(array.shape)

    def _linear(self, array: Array, name: str) -> Array:
        return primitives.linear(array, self.parameters[f"{name}.kernel"], self.parameters.get(f"{name}.bias"))


@np.errstate(over="ignore")  # exp(-x) of a large negative x is infinite, and 1 over it 0
def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _largest(scores: Array, count: int) -> Array:
    """Return where the largest numbers are, the largest first; of equal ones the first, and NaN as infinity."""
    ranked = np.where(np.isnan(scores), np.inf, scores)
    return np.argsort(-ranked, axis=-1, kind="stable")[..., :count]
