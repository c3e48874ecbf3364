"""A mixture of experts: feed-forward networks, of which a router chooses a few for each token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from attention_ref.spec import primitives
from attention_ref.spec.arrays import Array, indices, inspect
from attention_ref.spec.config import MixtureConfig
from attention_ref.spec.feedforward import FeedForward
from attention_ref.spec.layer_checks import check_mixture
from attention_ref.spec.numbers import Number, constant, decided, exp, is_nan, maximum, stored, total
from attention_ref.spec.parameters import under
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

    Source: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer" (2017);
    Jiang et al., "Mixtral of Experts" (2024); groups, shared experts and the bias of correction: DeepSeek-AI,
    "DeepSeek-V2" (2024) and "DeepSeek-V3 Technical Report" (2024).

    How others differ: Mixtral and gpt-oss take the softmax over the logits of the chosen experts alone, which is the
    same as `normalised`. Switch Transformers give each expert a capacity, and leave out the tokens beyond it.

    Example:
        >>> expert = FeedForwardConfig(model=8, hidden=16)
        >>> config = MixtureConfig(expert=expert, experts=4, chosen=2)
        >>> parameters = {name: as_array(array.tolist()) for name, array in weights.init(config).items()}
        >>> layer = MixtureOfExperts(config, parameters)
        >>> layer(as_array([[[0.0] * 8] * 3])).shape
        (1, 3, 8)
    """

    def __init__(self, config: MixtureConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.parameters = parameters
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
                shared = self._gated(shared, array, tap)
            output = primitives.added(output, shared)
        return report(tap, "output", output)

    def _route(self, logits: Array) -> tuple[Array, Array]:
        """Return the chosen experts of every token and their weights, `(..., chosen)`."""
        config = self.config
        chosen: list[int] = []
        weights: list[Number] = []
        for index in indices(logits.shape[:-1]):
            row = logits[index]
            scores = primitives.softmax(row) if config.scores == "softmax" else [_sigmoid(logit) for logit in row]
            own, gaps = self._choose(scores)
            chosen += own
            weights += self._weigh([decided(scores[i], gaps) for i in own])
        shape = (*logits.shape[:-1], config.chosen)
        return Array(shape, chosen, "integer"), Array(shape, weights, "real")

    def _choose(self, scores: Sequence[Number]) -> tuple[list[int], list[Number]]:
        """Return the numbers of the chosen experts of one token, that with the largest score first, and the gaps."""
        config = self.config
        if config.correction_bias:
            correction = self.parameters["correction_bias"].values
            scores = [score + number for score, number in zip(scores, correction, strict=True)]
        candidates, group_gaps = list(range(config.experts)), list[Number]()
        if config.chosen_groups is not None:
            size, count = config.group_size, 2 if config.group_score == "two_largest" else 1
            groups = [scores[start : start + size] for start in range(0, config.experts, size)]
            group_scores = [total(group[i] for i in _largest(group, count)[0]) for group in groups]
            allowed, group_gaps = _largest(group_scores, config.chosen_groups)
            candidates = [i for i in candidates if i // size in allowed]
        best, gaps = _largest([scores[i] for i in candidates], config.chosen)
        return [candidates[i] for i in best], group_gaps + gaps

    def _weigh(self, scores: Sequence[Number]) -> list[Number]:
        """Return the weights of the chosen experts of one token."""
        weights = list(scores)
        if self.config.normalised:
            denominator = total(weights)
            # where all sigmoids underflow
            weights = [weight / denominator for weight in weights] if denominator != 0 else weights
        if self.config.scale != 1:
            weights = [weight * constant(self.config.scale, weight) for weight in weights]
        return [stored(weight) for weight in weights]

    def _mixed(self, array: Array, chosen: Array, weights: Array) -> Array:
        """Return the weighted sum of the outputs of the chosen experts."""
        values: list[Number] = []
        for index in indices(array.shape[:-1]):
            token = Array(array.shape[-1:], array[index], "real")  # (m)
            outputs = [self.experts[i](token).values for i in chosen[index]]
            terms = [[weight * y for y in own] for weight, own in zip(weights[index], outputs, strict=True)]
            values += [stored(total(column)) for column in zip(*terms, strict=True)]
        return Array(array.shape, values, "real")

    def _gated(self, shared: Array, array: Array, tap: Tap | None) -> Array:
        """Multiply the output of the shared expert by its weight."""
        gate = self._linear(array, "shared_gate").map(lambda logit: stored(_sigmoid(logit)))
        report(tap, "shared_gate", gate)  # (...,1)
        size = shared.shape[-1]
        return primitives.multiplied(shared, Array(shared.shape, [g for g in gate.values for _ in range(size)], "real"))

    def _linear(self, array: Array, name: str) -> Array:
        return primitives.linear(array, self.parameters[f"{name}.kernel"], self.parameters.get(f"{name}.bias"))


def _sigmoid(number: Number) -> Number:
    one = constant(1.0, number)
    return one / (one + exp(-number))


def _largest(numbers: Sequence[Number], count: int) -> tuple[list[int], list[Number]]:
    """Return where the largest numbers are, the largest first; of equal ones the first, and NaN as infinity.

    The gaps, by how much each is larger than the next and the last than the others, tell how certain the choice is.
    """
    ranked = [constant(math.inf, number) if is_nan(number) else number for number in numbers]
    left, found, gaps = list(range(len(ranked))), [], []
    for _ in range(count):
        found.append(max(left, key=ranked.__getitem__))  # the first of equal ones
        left.remove(found[-1])
        gaps += [ranked[found[-1]] - maximum([ranked[i] for i in left])] if left else []
    return found, gaps
