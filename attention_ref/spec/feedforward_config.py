"""Configurations of feed-forward networks and of mixtures of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attention_ref.spec.records import Record

Activation = Literal["relu", "relu_squared", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh"]


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig(Record):
    """A feed-forward network.

    Arguments:
        model: m.
        hidden: f.
        activation: the activation function.
        gated: multiply the activation by a second projection (GLU, Shazeer 2020).
        input_bias, output_bias: which projections have a bias; the gate has one if the input has.
        clip: of a gated network, the largest gate before its activation, and the largest absolute value of the
            projected input; what is beyond is set to it.
        input_offset: of a gated network, added to the projected input behind `clip`; 1 in gpt-oss.
        dropout: the rate of dropout after the activation in training.
    """

    model: int
    hidden: int
    activation: Activation = "relu"
    gated: bool = False
    input_bias: bool = True
    output_bias: bool = True
    clip: float | None = None
    input_offset: float = 0.0
    dropout: float = 0.0

    def _check(self) -> None:
        self.require_positive("model", "hidden")
        if self.clip is not None:
            self.require_positive("clip")
            self.require(self.gated, "clip is an option of gated networks only", self.clip)
        is_read = self.gated or not self.input_offset
        self.require(is_read, "input_offset is an option of gated networks only", self.input_offset)
        self.require_rate("dropout")


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(Record):
    """A mixture of experts: feed-forward networks, of which a router chooses a few for each token.

    Arguments:
        expert: each of the experts, which differ in their parameters alone.
        experts: e, how many there are.
        chosen: how many of them each token goes to.
        scores: what the logits of the router are turned into: a `softmax` over all experts, or a `sigmoid` of each.
        normalised: divide the scores of the chosen experts by their sum. Of a softmax, this is the softmax over the
            logits of the chosen ones alone.
        scale: what the weights of the chosen experts are multiplied by.
        router_bias: whether the router has a bias.
        correction_bias: whether a trained number for each expert is added to the scores for the choice alone.
        groups: into how many groups of neighbours the experts are divided.
        chosen_groups: how many groups each token may choose experts from; all when None.
        group_score: what groups are compared by: the `largest` score of their experts, or the sum of the `two_largest`.
        shared: an expert that every token goes to, beside the chosen ones, with the weight 1.
        shared_gate: whether that weight is the sigmoid of a projection of the token instead.
    """

    expert: FeedForwardConfig
    experts: int
    chosen: int
    scores: Literal["softmax", "sigmoid"] = "softmax"
    normalised: bool = True
    scale: float = 1.0
    router_bias: bool = False
    correction_bias: bool = False
    groups: int = 1
    chosen_groups: int | None = None
    group_score: Literal["largest", "two_largest"] = "largest"
    shared: FeedForwardConfig | None = None
    shared_gate: bool = False

    def _check(self) -> None:
        self.require_positive("experts", "chosen", "groups")
        received = f"{self.experts} and {self.groups}"
        self.require(self.experts % self.groups == 0, "experts must be a multiple of groups", received)
        if self.chosen_groups is not None:
            self.require_positive("chosen_groups")
            rule = f"chosen_groups must be at most the {self.groups} groups"
            self.require(self.chosen_groups <= self.groups, rule, self.chosen_groups)
        choices = self.group_size * (self.chosen_groups or self.groups)
        rule = f"chosen must be at most {choices}, the experts of the chosen groups"
        self.require(self.chosen <= choices, rule, self.chosen)
        is_read = self.chosen_groups is not None or self.group_score == "largest"
        self.require(is_read, "group_score is an option of chosen_groups only", self.group_score)
        has_two = self.group_size > 1 or self.group_score == "largest"
        self.require(has_two, "the two_largest scores need groups of at least two experts", self.group_size)
        if self.shared is not None:
            model = self.expert.model
            self.require(
                self.shared.model == model, f"shared must have the experts' model size {model}", self.shared.model
            )
        has_shared = self.shared is not None or not self.shared_gate
        self.require(has_shared, "a shared_gate needs a shared expert", "none")

    @property
    def model(self) -> int:
        """Model width m."""
        return self.expert.model

    @property
    def group_size(self) -> int:
        """How many experts a group has."""
        return self.experts // self.groups
