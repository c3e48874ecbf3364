"""Where the tensors of a model hold padding, which every library computes as it likes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attention_ref.spec.architecture import ModelConfig

Blank = Callable[[str, np.ndarray], np.ndarray]
"""Called with the name of a tensor and its values; returns them with 0 in the place of padding."""


def blank_padding(config: ModelConfig, inputs: Mapping[str, Any]) -> Blank:
    """Return the function that sets the padding of a model's tensors to 0.

    Arguments:
        config: the model.
        inputs: the arguments of its call, with the lengths of its source and its target where there is padding.
    """
    is_pair = config.encoder_stack is not None and config.decoder_stack is not None
    source = inputs.get("lengths")
    lengths = {"encoder": source, "decoder": inputs.get("target_lengths") if is_pair else source}
    lengths["head"] = lengths["decoder" if config.decoder_stack is not None else "encoder"]

    def blank(name: str, array: np.ndarray) -> np.ndarray:
        stack = name.partition(".")[0]
        is_memory = name.endswith((".cross_attention.key", ".cross_attention.value"))
        rows = lengths["encoder" if is_memory else stack]
        axis = {3: 1, 4: 1 if name.endswith("_projection") else 2}.get(array.ndim)  # (b,l,_), (b,l,h,d), (b,h,l,_)
        if rows is None or axis is None:
            return array
        is_real = np.arange(array.shape[axis]) < np.asarray(rows)[:, None]  # (b,l)
        shape = [array.shape[0], *(1 for _ in array.shape[1:])]
        shape[axis] = array.shape[axis]
        return np.where(is_real.reshape(shape), array, 0.0)

    return blank
