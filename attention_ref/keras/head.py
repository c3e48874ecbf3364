"""The head: maps the output of the last stack to the result of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from attention_ref.keras import primitives
from attention_ref.keras._arrays import Array, inspect, integers, tanh, values, widen
from attention_ref.keras._parameters import Holder
from attention_ref.spec.architecture import HeadConfig
from attention_ref.spec.head import check_last_place
from attention_ref.spec.layer_checks import check_places
from attention_ref.spec.taps import Tap, report


class Head(Holder):
    """The head: maps the output of the last stack to the result of the model; see `HeadConfig`.

        language     softcap(transform(x) * scale W + b)        at every position
        pooler       tanh(x_i W + b)                            at one position i
        classifier   softcap(transform(x_i) * scale W + b)      at one position i

    Arguments:
        config: sizes and options.
        parameters: if configured, `kernel (m,n)`, `bias (n)`, `transform.kernel (m,m)`, `transform.bias (m)`,
            `norm.gain (m)`, `norm.bias (m)`, `pooler.kernel (m,m)`, `pooler.bias (m)`; with a `transform_size` the
            kernel and the norm read vectors of that size.
        token: the variable `(n,m)` of the embedding that a tied head reads transposed.
        options: those of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Example:
        >>> head = Head(spec.HeadConfig(kind="language", size=2), {"kernel": ops.array([[1.0, 2.0]])})
        >>> print(ops.convert_to_numpy(head(ops.array([[[3.0]]]))).round(3))
        [[[3. 6.]]]
    """

    def __init__(
        self, config: HeadConfig, parameters: Mapping[str, Any], token: keras.Variable | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.config = config
        self.register({**parameters, "token": token} if config.tied else parameters)

    def call(self, array: Array, *, lengths: Any = None, tap: Tap | None = None) -> Array:
        """Apply the head.

        Arguments:
            array: `(b,l,m)`.
            lengths: how many positions of each batch row are not padding, integers `(b,)`; all when None.
            tap: receives `output`.

        Returns:
            `(b,l,n)` for a language head, `(b,n)` otherwise.
        """
        config, parameters = self.config, self.tensors
        if config.kind != "language":
            array = array[:, 0] if config.place == "first" else last_place(array, lengths)  # (b,m)
        if config.kind == "pooler":
            pooled = primitives.linear(array, parameters["pooler.kernel"], parameters.get("pooler.bias"))
            return report(tap, "output", primitives.activate(pooled, "tanh"))
        if config.transform is not None:
            array = primitives.linear(array, parameters["transform.kernel"], parameters.get("transform.bias"))
            if config.transform != "identity":
                array = primitives.activate(array, config.transform)
            if config.norm is not None:
                array = primitives.normalize(array, config.norm, parameters, "norm")
        kernel = ops.transpose(parameters["token"]) if config.tied else parameters["kernel"]
        scores = primitives.linear(array * config.scale, kernel, parameters.get("bias"))
        if config.softcap is not None:
            scores = ops.cast(config.softcap * tanh(widen(scores) / config.softcap), scores.dtype)
        return report(tap, "output", scores)


def last_place(array: Array, lengths: Any) -> Array:
    """Return the vector at the last position of each row that is not padding: `(b,l,m)` to `(b,m)`.

    Example:
        >>> print(ops.convert_to_numpy(last_place(ops.array([[[1.0], [2.0], [3.0]]]), ops.array([2]))).round(3))
        [[2.]]
    """
    if lengths is None:
        return array[:, -1]
    check_places("Head", array.shape[:2], {"lengths": lengths}, inspect)
    lengths = integers(lengths)
    check_last_place(values(lengths))
    ends = lengths[:, None, None] - 1  # (b,1,1)
    return ops.take_along_axis(array, ends, axis=1)[:, 0]
