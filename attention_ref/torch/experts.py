"""A mixture of experts: feed-forward networks, of which a router chooses a few for each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from attention_ref.spec.config import MixtureConfig
from attention_ref.spec.layer_checks import check_mixture
from attention_ref.spec.parameters import under
from attention_ref.spec.taps import Tap, report, scoped
from attention_ref.torch import primitives
from attention_ref.torch._arrays import Array, inspect, to_compare, values, widen
from attention_ref.torch._parameters import Linear, init_or_check, register
from attention_ref.torch.feedforward import FeedForward


class MixtureOfExperts(nn.Module):
    """Experts, each a feed-forward network, of which every token goes to the few that its router chooses.

        scores  = softmax(x W_router + b_router)             over the experts, or sigmoid
        C       = the `chosen` experts with the largest scores + correction_bias
        w_i     = scale * scores_i / sum_{j in C} scores_j   for i in C; not divided unless `normalised`
        y       = sum_{i in C} w_i expert_i(x) + w_shared shared(x)

    Every token is routed by itself, and none is left out, however many others an expert has. Of experts with equal
    scores, the first is chosen; NaN counts as infinite. With `chosen_groups`, the groups with the largest scores are
    chosen first, and experts of these groups alone. The weight of the shared expert is 1, or sigmoid(x W_shared_gate).

    Where PyTorch cannot read what the router chooses (compiled, exported, under vmap, on the meta device), every expert
    computes every token, and outputs that are not chosen are dropped.

    Arguments:
        config: sizes and options.
        parameters: `router.kernel (m,e)`, those of `FeedForward` under `experts.0` and so on and, if configured,
            `router.bias (e)`, `correction_bias (e)`, those of `FeedForward` under `shared`, `shared_gate.kernel (m,1)`;
            initialised when None.

    Raises:
        SpecificationError: for parameters that do not match the configuration.

    Example:
        >>> expert = spec.FeedForwardConfig(model=8, hidden=16)
        >>> config = spec.MixtureConfig(expert=expert, experts=4, chosen=2)
        >>> layer = MixtureOfExperts(config, weights.init(config))
        >>> tuple(layer(torch.zeros(1, 3, 8)).shape)
        (1, 3, 8)
    """

    def __init__(self, config: MixtureConfig, parameters: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        parameters = init_or_check("MixtureOfExperts", config, parameters)
        self.config = config
        self.router = Linear(under(parameters, "router"))
        register(self, parameters, "correction_bias")
        experts = [FeedForward(config.expert, under(parameters, f"experts.{i}")) for i in range(config.experts)]
        self.experts = nn.ModuleList(experts)
        self.shared = FeedForward(config.shared, under(parameters, "shared")) if config.shared is not None else None
        self.shared_gate = Linear(under(parameters, "shared_gate")) if config.shared_gate else None

    def forward(self, array: Array, *, tap: Tap | None = None) -> Array:
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
        given = {"array": array, "router.kernel": to_compare(self.router.kernel), "tap": tap}
        check_mixture(self.config, given, inspect)
        logits = report(tap, "router", self.router(array))  # (...,e)
        chosen, weights = self._route(logits)
        report(tap, "chosen", chosen)
        report(tap, "weights", weights)
        output = report(tap, "routed", self._mixed(array, chosen, weights))  # (...,m)
        if self.shared is not None:
            shared = self.shared(array, tap=scoped(tap, "shared"))  # (...,m)
            if self.shared_gate is not None:
                gate = torch.sigmoid(widen(self.shared_gate(array))).to(shared.dtype)
                shared = report(tap, "shared_gate", gate) * shared
            output = output + shared
        return report(tap, "output", output)

    def _route(self, logits: Array) -> tuple[Array, Array]:
        """Return the chosen experts of every token and their weights, `(..., chosen)`."""
        config, wide = self.config, widen(logits)
        scores = primitives.softmax(wide) if config.scores == "softmax" else torch.sigmoid(wide)  # (...,e)
        chosen = self._choose(scores)
        weights = scores.gather(-1, chosen)  # (...,chosen)
        if config.normalised:
            denominator = weights.sum(dim=-1, keepdim=True)
            weights = weights / torch.where(denominator == 0, 1, denominator)  # where all sigmoids underflow
        return chosen, (weights * config.scale).to(logits.dtype)

    def _choose(self, scores: Array) -> Array:
        """Return the numbers of the chosen experts of every token, that with the largest score first."""
        config, leading = self.config, scores.shape[:-1]
        if self.correction_bias is not None:
            scores = scores + widen(self.correction_bias)
        if config.chosen_groups is None:
            return _largest(scores, config.chosen)
        size, count = config.group_size, 2 if config.group_score == "two_largest" else 1
        groups = scores.reshape(*leading, config.groups, size)
        group_scores = groups.gather(-1, _largest(groups, count)).sum(dim=-1)  # (...,groups)
        allowed = _largest(group_scores, config.chosen_groups).sort(dim=-1).values[..., None]
        numbers = torch.arange(size, device=scores.device)
        candidates = (allowed * size + numbers).reshape(*leading, config.chosen_groups * size)
        best = _largest(scores.gather(-1, candidates), config.chosen)
        return candidates.gather(-1, best)

    def _mixed(self, array: Array, chosen: Array, weights: Array) -> Array:
        """Return the weighted sum of the outputs of the chosen experts."""
        tokens, count = array.reshape(-1, array.shape[-1]), self.config.chosen  # (n,m)
        chosen, weights = chosen.reshape(-1, count), widen(weights).reshape(-1, count)  # (n,chosen)
        output = torch.zeros_like(tokens, dtype=weights.dtype)
        numbers = values(chosen)
        if numbers is None:
            for i, expert in enumerate(self.experts):
                output = output + self._masked(expert, tokens, chosen == i, weights)
        else:
            for i in sorted(set(numbers)):
                rows, places = torch.where(chosen == i)  # the tokens of this expert
                output = output.index_add(0, rows, weights[rows, places, None] * widen(self.experts[i](tokens[rows])))
        return output.to(array.dtype).reshape(array.shape)

    def _masked(self, expert: nn.Module, tokens: Array, is_own: Array, weights: Array) -> Array:
        """Return the weighted outputs of one expert, 0 for the tokens of others, which it does not read."""
        own = torch.where(is_own, weights, 0).sum(dim=-1, keepdim=True)  # (n,1)
        is_chosen = is_own.any(dim=-1, keepdim=True)
        return torch.where(is_chosen, own * widen(expert(torch.where(is_chosen, tokens, 0))), 0)


def _largest(scores: Array, count: int) -> Array:
    """Return where the largest numbers are, the largest first; of equal ones the first, and NaN as infinity."""
    ranked = torch.where(scores.isnan(), torch.inf, scores)
    return ranked.sort(dim=-1, descending=True, stable=True).indices[..., :count]
