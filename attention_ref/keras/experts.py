"""A mixture of experts: feed-forward networks, of which a router chooses a few for each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from attention_ref.keras import primitives
from attention_ref.keras._arrays import Array, inspect, widen
from attention_ref.keras._parameters import Configured, Holder, init_or_check
from attention_ref.keras.feedforward import FeedForward
from attention_ref.spec.config import MixtureConfig
from attention_ref.spec.layer_checks import check_mixture
from attention_ref.spec.taps import Tap, report, scoped


@keras.saving.register_keras_serializable(package="attention_ref")
class MixtureOfExperts(Configured):
    """Experts, each a feed-forward network, of which every token goes to the few that its router chooses.

        scores  = softmax(x W_router + b_router)             over the experts, or sigmoid
        C       = the `chosen` experts with the largest scores + correction_bias
        w_i     = scale * scores_i / sum_{j in C} scores_j   for i in C; not divided unless `normalised`
        y       = sum_{i in C} w_i expert_i(x) + w_shared shared(x)

    Every token is routed by itself, and none is left out, however many others an expert has. Of experts with equal
    scores, the first is chosen; NaN counts as infinite. With `chosen_groups`, the groups with the largest scores are
    chosen first, and experts of these groups alone. The weight of the shared expert is 1, or sigmoid(x W_shared_gate).

    Every expert computes every token, because shapes in a compiled Keras function cannot depend on what the router
    chooses; outputs that are not chosen are dropped.

    Arguments:
        config: sizes and options.
        parameters: `router.kernel (m,e)`, those of `FeedForward` under `experts.0` and so on and, if configured,
            `router.bias (e)`, `correction_bias (e)`, those of `FeedForward` under `shared`, `shared_gate.kernel (m,1)`;
            initialised when None.
        options: those of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        SpecificationError: for parameters that do not match the configuration.

    Example:
        >>> expert = spec.FeedForwardConfig(model=8, hidden=16)
        >>> config = spec.MixtureConfig(expert=expert, experts=4, chosen=2)
        >>> layer = MixtureOfExperts(config, weights.init(config))
        >>> tuple(layer(ops.zeros((1, 3, 8))).shape)
        (1, 3, 8)
    """

    record = MixtureConfig
    is_positionwise = True

    def __init__(self, config: MixtureConfig, parameters: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        parameters = init_or_check("MixtureOfExperts", config, parameters)
        self.config = config
        self.experts = [
            self.part(FeedForward, f"experts.{i}", config.expert, parameters) for i in range(config.experts)
        ]
        self.shared = self.part(FeedForward, "shared", config.shared, parameters) if config.shared is not None else None
        self.register(parameters)

    def parts(self) -> dict[str, Holder]:
        """Return the sublayers by the scopes of their parameters."""
        shared = {} if self.shared is None else {"shared": self.shared}
        return {f"experts.{i}": expert for i, expert in enumerate(self.experts)} | shared

    def call(self, array: Array, *, tap: Tap | None = None, training: bool | None = None) -> Array:
        """Apply the experts that are chosen at every position.

        Arguments:
            array: `(..., m)`.
            tap: receives `router`, the logits `(..., e)`; `chosen`, the numbers of the chosen experts `(..., chosen)`,
                that with the largest score first; `weights`, theirs `(..., chosen)`; `routed`, the sum of their outputs
                `(..., m)`; everything under `shared`, and `shared_gate`, its weight `(..., 1)`; and `output`.
            training: apply dropout; as Keras is set when None.

        Returns:
            `(..., m)`.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        given = {"array": array, "router.kernel": self.tensors["router.kernel"], "tap": tap}
        check_mixture(self.config, given, inspect)
        logits = report(tap, "router", self._linear(array, "router"))  # (...,e)
        chosen, weights = self._route(logits)
        report(tap, "chosen", chosen)
        report(tap, "weights", weights)
        output = report(tap, "routed", self._mixed(array, chosen, weights, training))  # (...,m)
        if self.shared is not None:
            shared = self.shared(array, tap=scoped(tap, "shared"), training=training)  # (...,m)
            if self.config.shared_gate:
                gate = ops.cast(ops.sigmoid(widen(self._linear(array, "shared_gate"))), shared.dtype)
                shared = report(tap, "shared_gate", gate) * shared
            output = output + shared
        return report(tap, "output", output)

    def _route(self, logits: Array) -> tuple[Array, Array]:
        """Return the chosen experts of every token and their weights, `(..., chosen)`."""
        config, wide = self.config, widen(logits)
        scores = primitives.softmax(wide) if config.scores == "softmax" else ops.sigmoid(wide)  # (...,e)
        chosen = self._choose(scores)
        weights = ops.take_along_axis(scores, chosen, axis=-1)  # (...,chosen)
        if config.normalised:
            denominator = ops.sum(weights, axis=-1, keepdims=True)
            weights = weights / ops.where(denominator == 0, 1, denominator)  # where all sigmoids underflow
        return chosen, ops.cast(weights * config.scale, logits.dtype)

    def _choose(self, scores: Array) -> Array:
        """Return the numbers of the chosen experts of every token, that with the largest score first."""
        config, leading = self.config, ops.shape(scores)[:-1]
        if config.correction_bias:
            scores = scores + widen(self.tensors["correction_bias"])
        if config.chosen_groups is None:
            return _largest(scores, config.chosen)
        size, count = config.group_size, 2 if config.group_score == "two_largest" else 1
        groups = ops.reshape(scores, (*leading, config.groups, size))
        group_scores = ops.sum(ops.take_along_axis(groups, _largest(groups, count), axis=-1), axis=-1)  # (...,groups)
        allowed = ops.sort(_largest(group_scores, config.chosen_groups), axis=-1)[..., None]
        numbers = ops.arange(size, dtype="int32")
        candidates = ops.reshape(allowed * size + numbers, (*leading, config.chosen_groups * size))
        best = _largest(ops.take_along_axis(scores, candidates, axis=-1), config.chosen)
        return ops.take_along_axis(candidates, best, axis=-1)

    def _mixed(self, array: Array, chosen: Array, weights: Array, training: bool | None) -> Array:
        """Return the weighted sum of the outputs of the chosen experts."""
        weights = widen(weights)
        output = ops.zeros_like(widen(array))
        for i, expert in enumerate(self.experts):
            is_own = chosen == i
            own = ops.sum(ops.where(is_own, weights, 0), axis=-1, keepdims=True)  # (...,1)
            is_chosen = ops.any(is_own, axis=-1, keepdims=True)
            read = ops.where(is_chosen, array, 0)  # not what overflows: 0 times infinity is NaN in the gradient
            output = output + ops.where(is_chosen, own * widen(expert(read, training=training)), 0)
        return ops.cast(output, array.dtype)

    def _linear(self, array: Array, name: str) -> Array:
        return primitives.linear(array, self.tensors[f"{name}.kernel"], self.tensors.get(f"{name}.bias"))


def _largest(scores: Array, count: int) -> Array:
    """Return where the largest numbers are, the largest first; of equal ones the first, and NaN as infinity."""
    ranked = ops.where(ops.isnan(scores), float("inf"), scores)
    return ops.argsort(-ranked, axis=-1)[..., :count]
