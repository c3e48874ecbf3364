"""Wrong embeddings, stacks and models beyond those of the gallery's pages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import embedding
from attention_ref.spec.architecture import StackConfig
from tests.wrong_layers.record import Mistake, configured, patched

MODEL = "Transformer"


def _scaled_by_place(config, parameters):
    model = right.Transformer(config, parameters)
    for stack in (model.encoder, model.decoder):
        for i, block in enumerate(stack.blocks if stack is not None else ()):
            for layer in (block.self_attention, block.cross_attention):
                if layer is not None:
                    usual = layer.config.scale or layer.config.sizes.head**-0.5
                    layer.config = replace(layer.config, scale=usual / (i + 1))
    return model


def _patches_first(self, image):
    found, count = _PATCHES(self, image), len(self.config.patches.tokens)
    return np.concatenate([found[:, count:], found[:, :count]], axis=1)


def _places_from_0(self, source, positions, offsets, length):
    return _PLACES(self, source, positions, np.zeros_like(np.asarray(offsets)), length)


def _alike(blocks):
    return tuple(replace(blocks[0], feedforward=block.feedforward) for block in blocks)


_PATCHES = embedding.Embedding._patches
_PLACES = embedding.Embedding._places

MODELS: tuple[Mistake, ...] = (
    Mistake("scale.per-block", MODEL, _scaled_by_place),
    Mistake(
        "blocks.configured-alike",
        MODEL,
        configured(MODEL, StackConfig, lambda stack: replace(stack, blocks=_alike(stack.blocks))),
    ),
    Mistake("embedding.trained-last", MODEL, patched(MODEL, embedding.Embedding, "_patches", _patches_first)),
    Mistake("position.restarted", MODEL, patched(MODEL, embedding.Embedding, "_places", _places_from_0)),
)
