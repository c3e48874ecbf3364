"""Mistakes in feed-forward networks and blocks."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import primitives
from attention_ref.spec.config import BlockConfig
from tests.wrong_layers.record import WrongLayer, configured, parametrised, patched, without


def _without_biases(name, array):
    return np.zeros_like(array) if name.endswith(".bias") and "norm" not in name else array


class _MaskOnTheMemory(right.Block):
    @functools.wraps(right.Block.__call__)
    def __call__(self, *arrays, mask=None, memory_mask=None, **options):
        if len(arrays) > 1 and memory_mask is None:
            memory_mask = mask
        return super().__call__(*arrays, mask=mask, memory_mask=memory_mask, **options)


def _transposed(name, array):
    return array.reshape(array.shape[::-1]).T if name.endswith("output.kernel") else array


def _gate_for_input(config, parameters):
    exchanged = {"gate": "input", "input": "gate"}
    taken = {}
    for name, array in parameters.items():
        scope, _, rest = name.partition(".")
        taken[name] = parameters.get(f"{exchanged.get(scope, scope)}.{rest}", array)
    return right.FeedForward(config, taken)


def _dropping(config, parameters):
    layer = right.FeedForward(config, parameters)

    def call(array):
        output = layer(array)
        kept = _RANDOM.random(output.shape) >= config.dropout
        return output * kept / (1 - config.dropout)

    return call


def _ordered(taken, order):
    plain = {"order": order, "residual": "input", "self_attention_norm": True}
    return configured(
        "Block", BlockConfig, lambda c: replace(c, **plain) if c.order == taken and c.self_attention_norm else c
    )


def _one_after_the_other(self, array, self_attention, feedforward, tap):
    normal = self._norm(array, "self_attention_norm", tap)
    array = array + self_attention(normal)
    return array + feedforward(normal if self.config.shared_norm else self._norm(array, "feedforward_norm", tap))


def _output_as_post(config, parameters):
    renamed = {name.replace("_output_norm", "_norm"): array for name, array in parameters.items()}
    is_output = config.order == "output"
    return right.Block(replace(config, order="post") if is_output else config, renamed if is_output else parameters)


def _no_norm_without_gain(config, parameters):
    normalize = primitives.normalize

    def wrong(array, norm, *names):
        return normalize(array, norm, *names) if norm.gain else array

    return patched("Block", primitives, "normalize", wrong)(config, parameters)


def _causal_memory(config):
    cross = config.cross_attention
    return config if cross is None else replace(config, cross_attention=replace(cross, causal=True))


_RANDOM = np.random.default_rng(0)


MISTAKES = (
    WrongLayer(
        "No norm without a gain", "norms.no-gain", "Block", _no_norm_without_gain, slug="norm.without-gain-missing"
    ),
    WrongLayer(
        "The output kernel transposed",
        "feedforward.formula",
        "FeedForward",
        parametrised("FeedForward", _transposed),
        pervasive=True,
        slug="projection.transposed",
    ),
    WrongLayer("Gate and input exchanged", "feedforward.gated", "FeedForward", _gate_for_input, slug="gate.exchanged"),
    WrongLayer(
        "No biases",
        "feedforward.biases",
        "FeedForward",
        parametrised("FeedForward", _without_biases),
        slug="projection.bias-missing",
    ),
    WrongLayer("Dropout outside training", "block.inference", "FeedForward", _dropping, slug="results.random"),
    WrongLayer("Pre for post", "block.post", "Block", _ordered("post", "pre"), slug="norm.pre-for-post"),
    WrongLayer("Post for pre", "block.pre", "Block", _ordered("pre", "post"), slug="norm.post-for-pre"),
    WrongLayer("No second norm", "block.sandwich", "Block", _ordered("sandwich", "pre"), slug="norm.output-missing"),
    WrongLayer("Post for output", "block.output", "Block", _output_as_post, slug="norm.post-for-output"),
    WrongLayer(
        "The residual starts at the input",
        "block.residual-norm",
        "Block",
        configured("Block", BlockConfig, lambda config: replace(config, residual="input")),
        slug="residual.not-normalised",
    ),
    WrongLayer(
        "A norm in every block",
        "block.no-first-norm",
        "Block",
        configured("Block", BlockConfig, lambda config: replace(config, self_attention_norm=True)),
        slug="norm.first-added",
    ),
    WrongLayer(
        "One branch after the other",
        "block.parallel",
        "Block",
        patched("Block", right.Block, "_parallel", _one_after_the_other),
        slug="parallel.in-sequence",
    ),
    WrongLayer(
        "A norm for each branch",
        "block.shared-norm",
        "Block",
        configured("Block", BlockConfig, lambda config: replace(config, shared_norm=False)),
        slug="norm.not-shared",
    ),
    WrongLayer(
        "Cross-attention is causal",
        "block.cross",
        "Block",
        configured("Block", BlockConfig, _causal_memory),
        slug="cross-attention.causal",
    ),
    WrongLayer(
        "The memory's padding is seen",
        "block.memory-rules",
        "Block",
        without("Block", "memory_lengths"),
        slug="memory.padding-seen",
    ),
    WrongLayer(
        "The memory has the mask of the input",
        "block.memory-rules",
        "Block",
        _MaskOnTheMemory,
        slug="memory.mask-of-input",
    ),
    WrongLayer(
        "The memory's mask is ignored",
        "block.memory-rules",
        "Block",
        without("Block", "memory_mask"),
        slug="memory.mask-ignored",
    ),
)
