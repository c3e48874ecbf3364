"""Embeddings of tokens, images and audio, with positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from attention_ref.spec.architecture import EmbeddingConfig
from attention_ref.spec.config import Learned
from attention_ref.spec.embedding import check_indices
from attention_ref.spec.layer_checks import check_embedding, check_places
from attention_ref.spec.parameters import under
from attention_ref.spec.taps import Tap, report
from attention_ref.torch import positions as codes
from attention_ref.torch import primitives
from attention_ref.torch._arrays import Array, as_array, inspect, values
from attention_ref.torch._parameters import Linear, normalization, register


class Embedding(nn.Module):
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
        owner: the embedding whose `token` table this one shares; its own when None.

    Example:
        >>> embedding = Embedding(spec.EmbeddingConfig(vocab=3), {"token": torch.tensor([[0.0], [1.0], [2.0]])})
        >>> embedding(torch.tensor([[2, 0]])).detach()
        tensor([[[2.],
                 [0.]]])
    """

    def __init__(self, config: EmbeddingConfig, parameters: Mapping[str, Any], owner: Embedding | None = None) -> None:
        super().__init__()
        self.config = config
        self.owner = () if owner is None else (owner,)  # in a tuple, or it would be registered as a submodule
        register(self, parameters, *(["token"] if owner is None else []), "class_token", "distillation_token")
        register(self, parameters, "position", "token_type")
        self.patch = Linear(under(parameters, "patch"), inputs=3) if config.patches is not None else None
        if config.audio is not None:
            self.first_convolution = Linear(under(parameters, "first_convolution"), inputs=2)
            self.second_convolution = Linear(under(parameters, "second_convolution"), inputs=2)
        self.norm = normalization(config.norm, parameters, "norm")
        self.projection = None if config.size is None else Linear(under(parameters, "projection"))

    def forward(
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
        source = as_array(source, self._device())
        vectors = self._vectors(source)
        if self.projection is not None and config.projected == "tokens":
            vectors = self.projection(vectors)
        places = {"positions": positions, "types": types, "lengths": lengths}
        check_places("Embedding", vectors.shape[:2], places, inspect)
        if config.positions is not None:
            counted = self._places(source, positions, offsets, vectors.shape[1])
            vectors = vectors + self._codes(counted, lengths, vectors)
        if config.types:
            if types is None:
                types = torch.zeros(vectors.shape[:2], dtype=torch.int64, device=vectors.device)
            vectors = vectors + _rows("types", self.token_type, as_array(types, vectors.device))
        if self.norm is not None:
            vectors = self.norm(vectors)
        if self.projection is not None and config.projected == "sum":
            vectors = self.projection(vectors)
        rate = config.dropout if self.training else 0.0
        vectors = primitives.dropout(vectors, primitives.draw_dropout_mask(vectors.shape, rate, vectors.device), rate)
        return report(tap, "output", vectors)

    def table(self) -> Array:
        """Return the token table `(n,m)`: the own one, or the one that is shared."""
        return self.owner[0].token if self.owner else self.token

    def _vectors(self, source: Array) -> Array:
        config = self.config
        if config.patches is not None:
            return self._patches(source)
        if config.audio is not None:
            sound = self._convolution(source, self.first_convolution, stride=1)
            return self._convolution(sound, self.second_convolution, stride=2)
        vectors = source if config.vocab is None else _rows("tokens", self.table(), source)
        return vectors * config.scale

    def _patches(self, image: Array) -> Array:
        """Cut an image into square patches, row by row, and project each: `(b,height,width,channels)` to `(b,l,m)`."""
        batch, height, width, channels = image.shape
        size = self.config.patches.size
        squares = image.reshape(batch, height // size, size, width // size, size, channels)
        squares = squares.transpose(2, 3).flatten(1, 2)  # (b,l,size,size,channels)
        vectors = self.patch(squares)
        tokens = [getattr(self, name).expand(batch, 1, -1) for name in self.config.patches.tokens]
        return torch.cat([*tokens, vectors], dim=1)  # (b,l+1,m) with one token

    def _convolution(self, sound: Array, kernel: Linear, *, stride: int) -> Array:
        """Convolve along time with a kernel of width 3, zeros beyond the ends, then GELU."""
        padded = functional.pad(sound, (0, 0, 1, 1))  # (b,frames+2,channels)
        windows = padded.unfold(1, 3, stride).transpose(2, 3)  # (b,l,channels,3) -> (b,l,3,channels)
        return primitives.activate(kernel(windows), "gelu")  # (b,l,m)

    def _places(self, source: Array, positions: Any, offsets: Any, length: int) -> Array:
        if positions is not None:
            return as_array(positions, source.device).long()
        starts = as_array(offsets, source.device)
        if self.config.positions_skip is not None:
            return count_without(source, self.config.positions_skip, starts)
        return starts[..., None] + torch.arange(length, device=source.device)  # (l,) or (b,l)

    def _codes(self, places: Array, lengths: Any, vectors: Array) -> Array:
        """Return the positional encoding of every vector, `(l,m)` or `(b,l,m)`."""
        config = self.config.positions
        if isinstance(config, Learned):
            table, rows = self.position, places + config.offset
            if lengths is not None:
                rows = _within(rows, as_array(lengths, rows.device).long(), table.shape[0])
            return _rows("positions", table, rows, config.offset)
        code = codes.sinusoidal_positions(places, vectors.shape[-1], config, like=vectors)
        if self.config.positions_skip is None:
            return code
        return torch.where(places[..., None] == -1, 0, code)  # nothing is added to a skipped token

    def _device(self) -> torch.device | None:
        if self.config.vocab is not None:
            return self.table().device
        parameter = next(self.parameters(), None)
        return None if parameter is None else parameter.device


def count_without(tokens: Array, skipped: int, starts: Array) -> Array:
    """Count positions over the tokens that are not `skipped`, from `starts` on; a skipped token has position -1.

    Example:
        >>> tokens, starts = torch.tensor([[7, 0, 8]]), torch.tensor([0])
        >>> count_without(tokens, 0, starts).tolist()
        [[0, -1, 1]]
    """
    counted = tokens.long() != skipped  # (b,l)
    return torch.where(counted, starts[..., None] + torch.cumsum(counted, dim=1) - 1, -1)


def _within(rows: Array, lengths: Array, count: int) -> Array:
    """Clip the rows that padding reads to a table of `count` rows: `(l,)` or `(b,l)` to `(b,l)`."""
    length = rows.shape[-1]
    is_real = torch.arange(length, device=rows.device) < lengths[..., None]  # (b,l)
    return torch.where(is_real, rows, rows.clamp(0, count - 1))


def _rows(name: str, table: Array, places: Array, offset: int = 0) -> Array:
    """Return rows of a table: `(n,m)` at `(...)` to `(...,m)`."""
    check_indices(name, values(places), table.shape[0], offset)
    return functional.embedding(places.long(), table)
