"""Mistakes in embeddings, stacks, heads and whole models."""

# ruff: noqa: ARG001 - a mistake may be to leave an argument out

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import embedding, primitives
from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, StackConfig
from attention_ref.spec.config import Learned, Norm
from tests.wrong_layers.record import WrongLayer, configured, fitted, parametrised, patched

MODEL = "Transformer"


def _record(kind, **changes):
    return configured(MODEL, kind, lambda record: replace(record, **changes))


def _zeroed(*ends):
    return parametrised(MODEL, lambda name, array: np.zeros_like(array) if name.endswith(ends) else array)


def _first_block_everywhere(config, parameters):
    def taken(name, array):
        stack, _, rest = name.partition(".blocks.")
        first = parameters.get(f"{stack}.blocks.0.{rest.partition('.')[2]}", array)
        return first if first.shape == array.shape else array

    return right.Transformer(config, {name: taken(name, array) for name, array in parameters.items()})


def _embedded_backwards(self, source, **options):
    return _EMBED(self, source, **options)[:, ::-1]


def _codes_from_row_0(self, places, lengths, vectors):
    if isinstance(self.config.positions, Learned):
        return self.parameters["position"][np.clip(places, 0, self.config.positions.length - 1)]
    return _CODES(self, places, lengths, vectors)


def _filled_with_zeros(projected):
    """Fill vectors with zeros where they should be projected."""

    def wrong(self, vectors):
        size = self.parameters["projection.kernel"].shape[-1]
        missing = size - vectors.shape[-1] if self.config.projected == projected else None
        return _PROJECT(self, vectors) if missing is None else np.pad(vectors, [(0, 0), (0, 0), (0, missing)])

    return wrong


def _without_transform(head):
    plain = {"transform": None, "transform_bias": True, "norm": None}
    return replace(head, **plain) if head.transform_size is None else head


def _codes_of_padding(self, places, lengths, vectors):
    if isinstance(self.config.positions, Learned):
        return _CODES(self, places, lengths, vectors)
    return right.sinusoidal_positions(places, vectors.shape[-1], self.config.positions, like=vectors)


def _tokens_exchanged(config, parameters):
    names = {"encoder.embedding.class_token", "encoder.embedding.distillation_token"}
    exchanged = dict(zip(sorted(names), sorted(names, reverse=True), strict=True)) if names <= set(parameters) else {}
    return right.Transformer(config, {name: parameters[exchanged.get(name, name)] for name in parameters})


def _patches_by_column(name, array):
    return array.swapaxes(0, 1) if name.endswith("patch.kernel") else array


def _late_convolution(self, sound, name, *, stride):
    padded = np.pad(sound, [(0, 0), (2 - stride, stride), (0, 0)])
    windows = np.stack([padded[:, step : step + sound.shape[1] : stride] for step in range(3)], axis=2)
    kernel, bias = self.parameters[f"{name}.kernel"], self.parameters[f"{name}.bias"]
    return primitives.activate(primitives.linear(windows, kernel, bias, inputs=2), "gelu")


def _always_a_final_norm(config, parameters):
    return configured(MODEL, StackConfig, lambda c: replace(c, norm=c.norm or Norm("layer", 1e-5)))(config, parameters)


def _bias_in_the_first_block(config, parameters):
    def change(stack):
        if stack.relative_bias is None:
            return stack
        first, *others = stack.blocks
        own = replace(first, attention=replace(first.attention, relative_bias=stack.relative_bias))
        return replace(stack, relative_bias=None, blocks=(own, *others))

    named = {name: f"{name.partition('.')[0]}.blocks.0.self_attention.relative_bias" for name in parameters}
    moved = {named[name] if name.endswith("coder.relative_bias") else name: array for name, array in parameters.items()}
    return configured(MODEL, StackConfig, change)(config, moved)


def _decode_all_memory(self, target, memory=None, *, tap=None, memory_lengths=None, **options):
    return _DECODE(self, target, memory, tap=tap, **options)


def _token_not_transposed(config, parameters):
    model = right.Transformer(config, parameters)
    if config.head is not None and config.head.tied:
        model.head.kernel = model.head.kernel.T.reshape(model.head.kernel.shape)
    return model


def _averaged(config, parameters):
    model = right.Transformer(config, parameters)
    if config.head is not None and config.head.kind != "language":
        head = model.head
        model.head = lambda array, **options: head(
            np.repeat(array.mean(1, keepdims=True), array.shape[1], 1), **options
        )
    return model


def _own_embedding(config, parameters):
    if not config.shared_embedding:
        return right.Transformer(config, parameters)
    wrong = replace(config, shared_embedding=False)
    return right.Transformer(wrong, fitted(wrong, parameters))


_CODES = embedding.Embedding._codes
_PROJECT = embedding.Embedding._projected
_DECODE = right.Transformer.decode
_EMBED = embedding.Embedding.__call__

MISTAKES = (
    WrongLayer(
        "The sequence is reversed",
        "model.formula",
        MODEL,
        patched(MODEL, embedding.Embedding, "__call__", _embedded_backwards),
        pervasive=True,
        slug="embedding.reversed",
    ),
    WrongLayer("One block for all", "model.depth", MODEL, _first_block_everywhere, slug="blocks.first-only"),
    WrongLayer(
        "Learned positions left out", "positions.learned", MODEL, _zeroed("embedding.position"), slug="position.missing"
    ),
    WrongLayer(
        "Learned positions from row 0",
        "positions.learned-offset",
        MODEL,
        patched(MODEL, embedding.Embedding, "_codes", _codes_from_row_0),
        slug="position.offset-ignored",
    ),
    WrongLayer(
        "Padding is counted",
        "positions.skip",
        MODEL,
        _record(EmbeddingConfig, positions_skip=None),
        slug="position.padding-counted",
    ),
    WrongLayer(
        "Padding has a code",
        "positions.skip-sinusoid",
        MODEL,
        patched(MODEL, embedding.Embedding, "_codes", _codes_of_padding),
        slug="position.padding-coded",
    ),
    WrongLayer(
        "The second token stands first",
        "model.distillation-token",
        MODEL,
        _tokens_exchanged,
        slug="embedding.trained-exchanged",
    ),
    WrongLayer(
        "The embedding is not scaled",
        "model.embedding-scale",
        MODEL,
        _record(EmbeddingConfig, scale=1.0),
        slug="embedding.not-scaled",
    ),
    WrongLayer(
        "The embedding is not normalised",
        "model.embedding-norm",
        MODEL,
        _record(EmbeddingConfig, norm=None),
        slug="embedding.norm-missing",
    ),
    WrongLayer(
        "The projection is left out",
        "model.embedding-projection",
        MODEL,
        patched(MODEL, embedding.Embedding, "_projected", _filled_with_zeros("sum")),
        slug="embedding.projection-missing",
    ),
    WrongLayer(
        "The projection is left out",
        "model.token-projection",
        MODEL,
        patched(MODEL, embedding.Embedding, "_projected", _filled_with_zeros("tokens")),
        slug="embedding.projection-missing",
    ),
    WrongLayer("Types left out", "model.types", MODEL, _zeroed("embedding.token_type"), slug="embedding.types-missing"),
    WrongLayer(
        "Squares column by column",
        "model.patches",
        MODEL,
        parametrised(MODEL, _patches_by_column),
        slug="patches.by-column",
    ),
    WrongLayer(
        "Padding at the end alone",
        "model.audio",
        MODEL,
        patched(MODEL, embedding.Embedding, "_convolution", _late_convolution),
        slug="audio.padded-at-end",
    ),
    WrongLayer("No final norm", "model.final-norm", MODEL, _record(StackConfig, norm=None), slug="norm.final-missing"),
    WrongLayer(
        "Always a final norm", "model.final-norm", MODEL, _always_a_final_norm, pervasive=True, slug="norm.final-added"
    ),
    WrongLayer(
        "The bias in the first block alone",
        "model.relative-bias",
        MODEL,
        _bias_in_the_first_block,
        slug="relative-bias.first-block-only",
    ),
    WrongLayer(
        "The source's padding is seen",
        "model.encoder-decoder",
        MODEL,
        patched(MODEL, right.Transformer, "decode", _decode_all_memory),
        slug="memory.source-padding-seen",
    ),
    WrongLayer(
        "The decoder has an embedding of its own",
        "model.shared-embedding",
        MODEL,
        _own_embedding,
        slug="embedding.not-shared",
    ),
    WrongLayer(
        "The tied head is not transposed",
        "model.tied-head",
        MODEL,
        _token_not_transposed,
        slug="head.tied-not-transposed",
    ),
    WrongLayer(
        "No bias of the head", "model.head-bias", MODEL, _zeroed("head.bias", "pooler.bias"), slug="head.bias-missing"
    ),
    WrongLayer(
        "The head is not scaled", "model.head-scale", MODEL, _record(HeadConfig, scale=1.0), slug="head.not-scaled"
    ),
    WrongLayer(
        "The scores are not bounded",
        "model.head-softcap",
        MODEL,
        _record(HeadConfig, softcap=None),
        slug="head.softcap-missing",
    ),
    WrongLayer(
        "No transform",
        "model.head-transform",
        MODEL,
        configured(MODEL, HeadConfig, _without_transform),
        slug="head.transform-missing",
    ),
    WrongLayer("All places are averaged", "model.one-place", MODEL, _averaged, slug="head.mean-of-positions"),
    WrongLayer(
        "The first place is read",
        "model.last-place",
        MODEL,
        _record(HeadConfig, place="first"),
        slug="head.first-for-last",
    ),
)
