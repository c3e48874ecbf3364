"""Embeddings of tokens, images and audio, with positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy import positions as codes
from attention_ref.numpy import primitives
from attention_ref.numpy._arrays import Array, inspect, values
from attention_ref.spec.architecture import EmbeddingConfig
from attention_ref.spec.config import Learned
from attention_ref.spec.embedding import check_indices
from attention_ref.spec.layer_checks import check_embedding, check_places
from attention_ref.spec.taps import Tap, report


class Embedding:
    """The embedding: maps the input of a stack to vectors.

        x = scale * token[t] + position[p] + type[y]            then the norm and the projection, if configured

    Arguments:
        config: the kind of input and what is added to it.
        parameters: if configured, `token (n,m)`, `patch.kernel (size,size,channels,m)`, `patch.bias (m)`,
            `class_token (m)`, `distillation_token (m)`, `first_convolution.kernel (3,channels,m)`,
            `second_convolution.kernel (3,m,m)` and their biases `(m)`, `position (length+offset,m)`,
            `token_type (types,m)`, `norm.gain (m)`, `norm.bias (m)`, `projection.kernel (e,m)`, `projection.bias (m)`;
            with a projection the others have e for m, of the tokens or of all.

    Example:
        >>> embedding = Embedding(spec.EmbeddingConfig(vocab=3), {"token": np.array([[0.0], [1.0], [2.0]])})
        >>> embedding(np.array([[2, 0]])).round(3)
        array([[[2.],
                [0.]]])
    """

    def __init__(self, config: EmbeddingConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.parameters = parameters

    def __call__(
        self,
        source: Any,
        *,
        positions: Any = None,
        types: Any = None,
        lengths: Any = None,
        offsets: Any = 0,
        tap: Tap | None = None,
    ) -> Array:
        """Embed the input.

        Arguments:
            source: tokens, integers `(b,l)`; or an image `(b,height,width,channels)`; or audio features
                `(b,frames,channels)`; or vectors `(b,l,m)`.
            positions: integers `(l,)` or `(b,l)`; counted from `offsets` when None.
            types: token types, integers `(b,l)`; all 0 when None.
            lengths: how many positions of each batch row are not padding, integers `(b,)`; all when None. The positions
                of padding may exceed a learned table.
            offsets: the position of the first vector, an integer or one for each batch row `(b,)`.
            tap: receives `output`.

        Returns:
            `(b,l,m)`.

        Raises:
            SpecificationError: for an input that is not of the configured kind, and for indices outside their table.
        """
        config = self.config
        check_embedding(config, {"source": source, "types": types}, inspect)
        source = np.asarray(source)
        vectors = self._vectors(source)
        if config.size is not None and config.projected == "tokens":
            vectors = self._projected(vectors)
        places = {"positions": positions, "types": types, "lengths": lengths}
        check_places("Embedding", vectors.shape[:2], places, inspect)
        if config.positions is not None:
            counted = self._places(source, positions, offsets, vectors.shape[1])
            vectors = vectors + self._codes(counted, lengths, vectors)
        if config.types:
            kinds = np.zeros(vectors.shape[:2], np.int64) if types is None else np.asarray(types)
            vectors = vectors + _rows("types", self.parameters["token_type"], kinds)
        if config.norm is not None:
            vectors = primitives.normalize(vectors, config.norm, self.parameters, "norm")
        if config.size is not None and config.projected == "sum":
            vectors = self._projected(vectors)
        return report(tap, "output", vectors)

    def _vectors(self, source: Array) -> Array:
        config = self.config
        if config.patches is not None:
            return self._patches(source)
        if config.audio is not None:
            sound = self._convolution(source, "first_convolution", stride=1)
            return self._convolution(sound, "second_convolution", stride=2)
        vectors = source if config.vocab is None else _rows("tokens", self.parameters["token"], source)
        return vectors * vectors.dtype.type(config.scale)

    def _projected(self, vectors: Array) -> Array:
        """Project to the model size: `(b,l,e)` to `(b,l,m)`."""
        kernel, bias = self.parameters["projection.kernel"], self.parameters.get("projection.bias")
        return primitives.linear(vectors, kernel, bias)

    def _patches(self, image: Array) -> Array:
        """Cut an image into square patches, row by row, and project each: `(b,height,width,channels)` to `(b,l,m)`."""
        batch, height, width, channels = image.shape
        size = self.config.patches.size
        squares = image.reshape(batch, height // size, size, width // size, size, channels)
        squares = squares.swapaxes(2, 3).reshape(batch, -1, size, size, channels)  # (b,l,size,size,channels)
        vectors = primitives.linear(squares, self.parameters["patch.kernel"], self.parameters["patch.bias"], inputs=3)
        shape = (batch, 1, vectors.shape[-1])
        tokens = [np.broadcast_to(self.parameters[name], shape) for name in self.config.patches.tokens]
        return np.concatenate([*tokens, vectors], axis=1)  # (b,l+1,m) with one token

    def _convolution(self, sound: Array, name: str, *, stride: int) -> Array:
        """Convolve along time with a kernel of width 3, zeros beyond the ends, then GELU."""
        padded = np.pad(sound, [(0, 0), (1, 1), (0, 0)])  # (b,frames+2,channels)
        windows = np.stack([padded[:, step : step + sound.shape[1] : stride] for step in range(3)], axis=2)
        kernel, bias = self.parameters[f"{name}.kernel"], self.parameters[f"{name}.bias"]
        return primitives.activate(primitives.linear(windows, kernel, bias, inputs=2), "gelu")  # (b,l,m)

    def _places(self, source: Array, positions: Any, offsets: Any, length: int) -> Array:
        if positions is not None:
            return np.asarray(positions).astype(np.int64)
        starts = np.asarray(offsets)
        if self.config.positions_skip is not None:
            return count_without(source, self.config.positions_skip, starts)
        return starts[..., None] + np.arange(length)  # (l,) or (b,l)

    def _codes(self, places: Array, lengths: Any, vectors: Array) -> Array:
        """Return the positional encoding of every vector, `(l,m)` or `(b,l,m)`."""
        config = self.config.positions
        if isinstance(config, Learned):
            table, rows = self.parameters["position"], places + config.offset
            if lengths is not None:
                rows = _within(rows, np.asarray(lengths), table.shape[0])
            return _rows("positions", table, rows, config.offset)
        code = codes.sinusoidal_positions(places, vectors.shape[-1], config, like=vectors)
        if self.config.positions_skip is None:
            return code
        return np.where(places[..., None] == -1, code.dtype.type(0), code)  # nothing is added to a skipped token


def count_without(tokens: Array, skipped: int, starts: Array) -> Array:
    """Count positions over the tokens that are not `skipped`, from `starts` on; a skipped token has position -1.

    Example:
        >>> tokens, starts = np.array([[7, 0, 8]]), np.array([0])
        >>> count_without(tokens, 0, starts).tolist()
        [[0, -1, 1]]
    """
    counted = tokens != skipped  # (b,l)
    return np.where(counted, starts[..., None] + np.cumsum(counted, axis=1) - 1, -1)


def _within(rows: Array, lengths: Array, count: int) -> Array:
    """Clip the rows that padding reads to a table of `count` rows: `(l,)` or `(b,l)` to `(b,l)`."""
    length = rows.shape[-1]
    is_real = np.arange(length) < lengths[..., None]  # (b,l)
    return np.where(is_real, rows, np.clip(rows, 0, count - 1))


def _rows(name: str, table: Array, places: Array, offset: int = 0) -> Array:
    """Return rows of a table: `(n,m)` at `(...)` to `(...,m)`."""
    check_indices(name, values(places), table.shape[0], offset)
    return table[places]
