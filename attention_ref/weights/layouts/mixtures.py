"""The parts that families with mixtures of experts have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import FeedForwardConfig, MixtureConfig
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, NoEffect, Values
from attention_ref.weights.layouts.layout import Table, within
from attention_ref.weights.layouts.llama import TABLE

Network = FeedForwardConfig | MixtureConfig


def network(values: Values, hidden: int) -> FeedForwardConfig:
    """The gated network of Llama with another hidden size."""
    options: dict[str, Any] = {"gated": True, "input_bias": False, "output_bias": False}
    return FeedForwardConfig(model=values.hidden_size, hidden=hidden, activation=values.hidden_act, **options)


def of_mixture(path: str) -> Callable[[ModelConfig], Any]:
    """The value at a dotted path in the first mixture of a configuration; `ABSENT` where no block has one."""
    return lambda config: _follow(_first(config, MixtureConfig), path)


def of_dense(path: str) -> Callable[[ModelConfig], Any]:
    """The same in the first block that has a feed-forward network instead."""
    return lambda config: _follow(_first(config, FeedForwardConfig), path)


def _first(config: ModelConfig, kind: type[Network]) -> Any:
    blocks = config.decoder_stack.blocks if config.decoder_stack is not None else ()
    return next((block.feedforward for block in blocks if isinstance(block.feedforward, kind)), ABSENT)


def _follow(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = getattr(value, step, ABSENT)
    return value


def activation_of(config: ModelConfig) -> Any:
    """The activation of the experts, or of a model without any."""
    found = of_mixture("expert.activation")(config)
    return of_dense("activation")(config) if found is ABSENT else found


def mixed_layers(values: Values, dense: FeedForwardConfig, mixture: MixtureConfig) -> list[Network]:
    """The network of each block by `decoder_sparse_step` and `mlp_only_layers`: every step-th has the mixture."""
    step, plain = values.decoder_sparse_step, values.mlp_only_layers or ()
    layers = range(values.num_hidden_layers)
    return [dense if i in plain or (i + 1) % step else mixture for i in layers]


def _dense_layers(config: ModelConfig) -> Any:
    blocks = config.decoder_stack.blocks if config.decoder_stack is not None else ()
    return [i for i, block in enumerate(blocks) if isinstance(block.feedforward, FeedForwardConfig)]


MIXED_LAYERS: Keys = {
    "decoder_sparse_step": Key(lambda config: ABSENT, 1),
    "mlp_only_layers": Key(_dense_layers, None),
}
"""The keys that say which blocks have the mixture."""

ROUTER: Keys = {
    "hidden_act": Key(activation_of, "silu", ACTIVATIONS),
    "num_experts_per_tok": Key(of_mixture("chosen"), 2),
    "output_router_logits": NoEffect("it is about what is returned beside the result"),
    "router_aux_loss_coef": NoEffect("it acts in training only"),
    "router_jitter_noise": NoEffect("it acts in training only"),
}
"""The keys that every family with experts has."""

DENSE = {"input": "up_proj", "gate": "gate_proj", "output": "down_proj"}

EXPERTS: Table = {
    **TABLE,
    "decoder.blocks.*.feedforward.router": "layers.*.mlp.gate",
    **within("decoder.blocks.*.feedforward.experts.*", "layers.*.mlp.experts.*", DENSE),
}
"""The tensors of Llama with experts, each with tensors of its own."""
