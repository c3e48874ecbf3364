"""Embeddings of tokens, images and audio, with positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from attention_ref.keras import positions as codes
from attention_ref.keras import primitives
from attention_ref.keras._arrays import Array, as_array, checked, inspect, integers, values
from attention_ref.keras._parameters import Holder
from attention_ref.spec.architecture import EmbeddingConfig
from attention_ref.spec.config import Learned
from attention_ref.spec.embedding import check_indices
from attention_ref.spec.layer_checks import check_embedding, check_places
from attention_ref.spec.parameters import check_part
from attention_ref.spec.taps import Tap, report


class Embedding(Holder):
    """The embedding: maps the input of a stack to vectors.

        x = scale * token[t] + position[p] + type[y]            then the norm and the projection, if configured

    In training, `config.dropout` is applied to the result.

    Arguments:
        config: the kind of input and what is added to it.
        parameters: if configured, `token (n,m)`, `patch.kernel (size,size,channels,m)`, `patch.bias (m)`,
            `class_token (m)`, `distillation_token (m)`, `first_convolution.kernel (3,channels,m)`,
            `second_convolution.kernel (3,m,m)` and their biases `(m)`, `position (length+offset,m)`,
            `token_type (types,m)`, `norm.gain (m)`, `norm.bias (m)`, `projection.kernel (e,m)`, `projection.bias (m)`;
            with a projection the others have e for m, of the tokens or of all.
        options: those of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Example:
        >>> embedding = Embedding(spec.EmbeddingConfig(vocab=3), {"token": ops.array([[0.0], [1.0], [2.0]])})
        >>> print(ops.convert_to_numpy(embedding(ops.array([[2, 0]]))).round(3))
        [[[2.]
          [0.]]]
    """

    def __init__(self, config: EmbeddingConfig, parameters: Mapping[str, Any], **options: Any) -> None:
        super().__init__(**options)
        check_part("Embedding", EmbeddingConfig, config, parameters)
        self.config = config
        self.register(parameters)

    def call(
        self,
        source: Any,
        *,
        positions: Any = None,
        types: Any = None,
        lengths: Any = None,
        offsets: Any = 0,
        tap: Tap | None = None,
        training: bool | None = None,
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
            training: apply dropout; as Keras is set when None.

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
            counted = self._places(source, positions, offsets, ops.shape(vectors)[1])
            vectors = vectors + self._codes(counted, lengths, vectors)
        if config.types:
            kinds = ops.zeros(ops.shape(vectors)[:2], dtype="int32") if types is None else integers(types)
            vectors = vectors + _rows("types", self.tensors["token_type"], kinds)
        if config.norm is not None:
            vectors = primitives.normalize(vectors, config.norm, self.tensors, "norm")
        if config.size is not None and config.projected == "sum":
            vectors = self._projected(vectors)
        rate = config.dropout if training else 0.0
        dropout_mask = primitives.draw_dropout_mask(ops.shape(vectors), rate, self.seed_generator)
        vectors = primitives.dropout(vectors, dropout_mask, rate)
        return report(tap, "output", vectors)

    def _vectors(self, source: Array) -> Array:
        config = self.config
        if config.patches is not None:
            return self._patches(source)
        if config.audio is not None:
            sound = self._convolution(source, "first_convolution", stride=1)
            return self._convolution(sound, "second_convolution", stride=2)
        vectors = source if config.vocab is None else _rows("tokens", self.tensors["token"], source)
        return vectors * config.scale

    def _projected(self, vectors: Array) -> Array:
        """Project to the model size: `(b,l,e)` to `(b,l,m)`."""
        kernel, bias = self.tensors["projection.kernel"], self.tensors.get("projection.bias")
        return primitives.linear(vectors, kernel, bias)

    def _patches(self, image: Array) -> Array:
        """Cut an image into square patches, row by row, and project each: `(b,height,width,channels)` to `(b,l,m)`."""
        patches, batch = self.config.patches, ops.shape(image)[0]
        size, rows, columns = patches.size, patches.height // patches.size, patches.width // patches.size
        squares = ops.reshape(image, (batch, rows, size, columns, size, patches.channels))
        squares = ops.swapaxes(squares, 2, 3)
        squares = ops.reshape(squares, (batch, rows * columns, size, size, patches.channels))
        vectors = primitives.linear(squares, self.tensors["patch.kernel"], self.tensors["patch.bias"], inputs=3)
        shape = (batch, 1, vectors.shape[-1])
        tokens = [ops.broadcast_to(self.tensors[name], shape) for name in patches.tokens]
        return ops.concatenate([*tokens, vectors], axis=1)  # (b,l+1,m) with one token

    def _convolution(self, sound: Array, name: str, *, stride: int) -> Array:
        """Convolve along time with a kernel of width 3, zeros beyond the ends, then GELU."""
        frames, padded = ops.shape(sound)[1], ops.pad(sound, [(0, 0), (1, 1), (0, 0)])  # (b,frames+2,channels)
        windows = ops.stack([padded[:, step : step + frames : stride] for step in range(3)], axis=2)
        kernel, bias = self.tensors[f"{name}.kernel"], self.tensors[f"{name}.bias"]
        return primitives.activate(primitives.linear(windows, kernel, bias, inputs=2), "gelu")  # (b,l,m)

    def _places(self, source: Array, positions: Any, offsets: Any, length: int) -> Array:
        if positions is not None:
            return integers(positions)
        starts = integers(offsets)
        if self.config.positions_skip is not None:
            return count_without(source, self.config.positions_skip, starts)
        return starts[..., None] + ops.arange(length, dtype="int32")  # (l,) or (b,l)

    def _codes(self, places: Array, lengths: Any, vectors: Array) -> Array:
        """Return the positional encoding of every vector, `(l,m)` or `(b,l,m)`."""
        config = self.config.positions
        if isinstance(config, Learned):
            table, rows = self.tensors["position"], places + config.offset
            if lengths is not None:
                rows = _within(rows, integers(lengths), table.shape[0])
            return _rows("positions", table, rows, config.offset)
        code = codes.sinusoidal_positions(places, vectors.shape[-1], config, like=vectors)
        if self.config.positions_skip is None:
            return code
        return ops.where(places[..., None] == -1, ops.zeros_like(code), code)  # nothing is added to a skipped token


def count_without(tokens: Array, skipped: int, starts: Array) -> Array:
    """Count positions over the tokens that are not `skipped`, from `starts` on; a skipped token has position -1.

    Example:
        >>> tokens, starts = ops.array([[7, 0, 8]]), ops.array([0])
        >>> ops.convert_to_numpy(count_without(tokens, 0, starts)).tolist()
        [[0, -1, 1]]
    """
    tokens, starts = checked("count_without", tokens=tokens, skipped=skipped, starts=starts)
    counted = integers(tokens) != skipped  # (b,l)
    places = integers(starts)[..., None] + ops.cumsum(ops.cast(counted, "int32"), axis=1) - 1
    return ops.where(counted, places, -1)


def _within(rows: Array, lengths: Array, count: int) -> Array:
    """Clip the rows that padding reads to a table of `count` rows: `(l,)` or `(b,l)` to `(b,l)`."""
    length = ops.shape(rows)[-1]
    is_real = ops.arange(length, dtype="int32") < lengths[..., None]  # (b,l)
    return ops.where(is_real, rows, ops.clip(rows, 0, count - 1))


def _rows(name: str, table: Array, places: Array, offset: int = 0) -> Array:
    """Return rows of a table: `(n,m)` at `(...)` to `(...,m)`."""
    check_indices(name, values(places), table.shape[0], offset)
    return ops.take(table, integers(places), axis=0)
