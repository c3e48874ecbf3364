"""Embeddings of tokens, images and audio, with positions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from attention_ref.spec import positions as codes
from attention_ref.spec import primitives
from attention_ref.spec.architecture import EmbeddingConfig
from attention_ref.spec.arrays import Array, as_array, broadcast_index, indices, inspect
from attention_ref.spec.config import Learned
from attention_ref.spec.errors import reject
from attention_ref.spec.layer_checks import check_embedding, check_places
from attention_ref.spec.numbers import constant, detached, stored
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

    Source: Vaswani et al. (2017), section 3.4; patches: Dosovitskiy et al. (2021).
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
        source = as_array(source)
        vectors = self._vectors(source)
        if config.size is not None and config.projected == "tokens":
            vectors = self._projected(vectors)
        places = {"positions": positions, "types": types, "lengths": lengths}
        check_places("Embedding", vectors.shape[:2], places, inspect)
        if config.positions is not None:
            counted = self._places(source, positions, offsets, vectors.shape[1])
            vectors = primitives.added(vectors, self._codes(counted, lengths, vectors))
        if config.types:
            first = Array(vectors.shape[:2], [0] * math.prod(vectors.shape[:2]), "integer")
            kinds = as_array(types) if types is not None else first
            vectors = primitives.added(vectors, _rows("types", self.parameters["token_type"], kinds))
        if config.norm is not None:
            vectors = primitives.normalize(vectors, config.norm, self.parameters, "norm")
        if config.size is not None and config.projected == "sum":
            vectors = self._projected(vectors)
        return report(tap, "output", vectors)

    def _vectors(self, source: Array) -> Array:
        if self.config.vocab is not None:
            vectors = _rows("tokens", self.parameters["token"], source)
            return scaled(vectors, self.config.scale)
        if self.config.patches is not None:
            return self._patches(source)
        if self.config.audio is not None:
            sound = self._convolution(source, "first_convolution", stride=1)
            return self._convolution(sound, "second_convolution", stride=2)
        return scaled(source, self.config.scale)

    def _projected(self, vectors: Array) -> Array:
        """Project to the model size: `(b,l,e)` to `(b,l,m)`."""
        kernel, bias = self.parameters["projection.kernel"], self.parameters.get("projection.bias")
        return primitives.linear(vectors, kernel, bias)

    def _patches(self, image: Array) -> Array:
        """Cut an image into square patches, row by row, and project each."""
        patches: Any = self.config.patches
        batch, (height, width), size = image.shape[0], image.shape[1:3], patches.size
        tall, wide = height // size, width // size
        values = [
            number
            for row, up, left in indices((batch, tall, wide))
            for y, x in indices((size, size))
            for number in image[(row, up * size + y, left * size + x)]
        ]
        squares = Array((batch, tall * wide, size, size, patches.channels), values, "real")
        vectors = primitives.linear(squares, self.parameters["patch.kernel"], self.parameters["patch.bias"], inputs=3)
        tokens = [number for name in patches.tokens for number in self.parameters[name].values]
        model, length = vectors.shape[-1], tall * wide
        rows = [tokens + vectors.values[b * length * model : (b + 1) * length * model] for b in range(batch)]
        return Array((batch, patches.length, model), [number for row in rows for number in row], "real")

    def _convolution(self, sound: Array, name: str, *, stride: int) -> Array:
        """Convolve along time with a kernel of width 3, zeros beyond the ends, then GELU."""
        batch, frames, channels = sound.shape
        length = (frames - 1) // stride + 1
        silence = [detached(constant(0.0, number)) for number in sound.values[:channels]]
        values: list[Any] = []
        for row, place, step in indices((batch, length, 3)):
            frame = place * stride + step - 1
            values += sound[(row, frame)] if 0 <= frame < frames else silence
        windows = Array((batch, length, 3, channels), values, "real")
        kernel, bias = self.parameters[f"{name}.kernel"], self.parameters[f"{name}.bias"]
        return primitives.activate(primitives.linear(windows, kernel, bias, inputs=2), "gelu")

    def _places(self, source: Array, positions: Any, offsets: Any, length: int) -> Array:
        if positions is not None:
            return as_array(positions)
        starts = as_array(offsets)
        if self.config.positions_skip is not None:
            return count_without(source, self.config.positions_skip, starts)
        values = [start + i for start in starts.values for i in range(length)]
        return Array((*starts.shape, length), values, "integer")

    def _codes(self, places: Array, lengths: Any, vectors: Array) -> Array:
        """Return the positional encoding of every vector, `(b,l,m)`."""
        batch, _, model = vectors.shape
        if isinstance(self.config.positions, Learned):
            table, offset = self.parameters["position"], self.config.positions.offset
            rows = places.map(lambda place: place + offset)
            if lengths is not None:
                rows = _within(rows, as_array(lengths), batch, table.shape[0])
            code = _rows("positions", table, rows, offset)
        else:
            like = vectors.values[0] if vectors.values else 1.0
            sinusoid: Any = self.config.positions
            code = codes.sinusoidal_positions(places, model, sinusoid, like=like)
            if self.config.positions_skip is not None:
                code = _without_skipped(code, places)
        return code if len(code.shape) == 3 else Array(vectors.shape, code.values * batch, "real")


def check_indices(name: str, indices: Sequence[int] | None, rows: int, offset: int = 0) -> None:
    """Check that what is looked up, where it can be read, are rows of its table.

    Arguments:
        name: of what is looked up: tokens, types or positions.
        indices: the rows; None where they cannot be read.
        rows: how many the table has.
        offset: the row of 0.

    Raises:
        SpecificationError: for a row that the table does not have.
    """
    for index in indices or ():
        if not 0 <= index < rows:
            rule = f"{name} must lie between {-offset} and {rows - 1 - offset}, for their table has {rows} rows"
            reject("Embedding", rule, index - offset)


def count_without(tokens: Array, skipped: int, starts: Array) -> Array:
    """Count positions over the tokens that are not `skipped`, from `starts` on; a skipped token has position -1.

    How others differ: this is RoBERTa's position of padding, with the offset left to the table.
    """
    values = []
    for (row,) in indices(tokens.shape[:1]):
        count = starts[broadcast_index((row,), starts.shape)]
        for token in tokens[(row,)]:
            values.append(-1 if token == skipped else count)
            count += token != skipped
    return Array(tokens.shape, values, "integer")


def scaled(array: Array, scale: float) -> Array:
    """Multiply by a constant; 1 changes nothing."""
    return array if scale == 1.0 else array.map(lambda number: stored(number * constant(scale, number)))


def _without_skipped(code: Array, places: Array) -> Array:
    """Set the code of position -1 to 0: `(...,m)` at places `(...)`."""
    rows = zip(indices(places.shape), places.values, strict=True)
    values = [detached(constant(0.0, n)) if place == -1 else n for index, place in rows for n in code[index]]
    return Array(code.shape, values, "real")


def _within(rows: Array, lengths: Array, batch: int, count: int) -> Array:
    """Clip the rows that padding reads to a table of `count` rows: `(l,)` or `(b,l)` to `(b,l)`."""
    length = rows.shape[-1]
    values = []
    for row, place in indices((batch, length)):
        index = rows[broadcast_index((row, place), rows.shape)]
        is_real = place < lengths[broadcast_index((row,), lengths.shape)]
        values.append(index if is_real else min(max(index, 0), count - 1))
    return Array((batch, length), values, "integer")


def _rows(name: str, table: Array, places: Array, offset: int = 0) -> Array:
    """Return rows of a table: `(n,m)` at `(...)` to `(...,m)`."""
    check_indices(name, places.values, table.shape[0], offset)
    return Array((*places.shape, table.shape[1]), [n for place in places.values for n in table[(place,)]], "real")
