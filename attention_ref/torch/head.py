"""The head: maps the output of the last stack to the result of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from attention_ref.spec.architecture import HeadConfig
from attention_ref.spec.head import check_last_place
from attention_ref.spec.layer_checks import check_places
from attention_ref.spec.parameters import under
from attention_ref.spec.taps import Tap, report
from attention_ref.torch import primitives
from attention_ref.torch._arrays import Array, as_array, inspect, values, widen
from attention_ref.torch._parameters import Linear, normalization, register
from attention_ref.torch.embedding import Embedding


class Head(nn.Module):
    """The head: maps the output of the last stack to the result of the model; see `HeadConfig`.

        language     softcap(transform(x) * scale W + b)        at every position
        pooler       tanh(x_i W + b)                            at one position i
        classifier   softcap(transform(x_i) * scale W + b)      at one position i

    Arguments:
        config: sizes and options.
        parameters: if configured, `kernel (m,n)`, `bias (n)`, `transform.kernel (m,m)`, `transform.bias (m)`,
            `norm.gain (m)`, `norm.bias (m)`, `pooler.kernel (m,m)`, `pooler.bias (m)`; with a `transform_size` the
            kernel and the norm read vectors of that size.
        embedding: the embedding whose token table `(n,m)` is, transposed, the kernel of a tied head.

    Example:
        >>> head = Head(spec.HeadConfig(kind="language", size=2), {"kernel": torch.tensor([[1.0, 2.0]])})
        >>> head(torch.tensor([[[3.0]]])).detach()
        tensor([[[3., 6.]]])
    """

    def __init__(self, config: HeadConfig, parameters: Mapping[str, Any], embedding: Embedding | None = None) -> None:
        super().__init__()
        self.config = config
        self.tied = (embedding,) if config.tied else ()  # in a tuple, or it would be registered as a submodule
        register(self, parameters, "kernel", "bias")
        is_pooler = config.kind == "pooler"
        self.pooler = Linear(under(parameters, "pooler")) if is_pooler else None
        self.transform = None if is_pooler or config.transform is None else Linear(under(parameters, "transform"))
        self.norm = None if self.transform is None else normalization(config.norm, parameters, "norm")

    def forward(self, array: Array, *, lengths: Any = None, tap: Tap | None = None) -> Array:
        """Apply the head.

        Arguments:
            array: `(b,l,m)`.
            lengths: how many positions of each batch row are not padding, integers `(b,)`; all when None.
            tap: receives `output`.

        Returns:
            `(b,l,n)` for a language head, `(b,n)` otherwise.
        """
        config = self.config
        if config.kind != "language":
            array = array[:, 0] if config.place == "first" else last_place(array, lengths)  # (b,m)
        if self.pooler is not None:
            return report(tap, "output", primitives.activate(self.pooler(array), "tanh"))
        if self.transform is not None:
            array = self.transform(array)
            if config.transform != "identity":
                array = primitives.activate(array, config.transform)
            if self.norm is not None:
                array = self.norm(array)
        kernel = self.tied[0].table().T if self.tied else self.kernel
        scores = primitives.linear(array * config.scale, kernel, self.bias)
        if config.softcap is not None:
            scores = (config.softcap * torch.tanh(widen(scores) / config.softcap)).to(scores.dtype)
        return report(tap, "output", scores)


def last_place(array: Array, lengths: Any) -> Array:
    """Return the vector at the last position of each row that is not padding: `(b,l,m)` to `(b,m)`.

    Example:
        >>> last_place(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([2]))
        tensor([[2.]])
    """
    if lengths is None:
        return array[:, -1]
    check_places("Head", array.shape[:2], {"lengths": lengths}, inspect)
    lengths = as_array(lengths, array.device).long()
    check_last_place(values(lengths))
    ends = lengths[:, None, None] - 1  # (b,1,1)
    return torch.take_along_dim(array, ends, dim=1)[:, 0]
