"""Multi-head attention with its projections as a workload, beside the layers of PyTorch and Keras."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from attention_ref.bench.attention_workloads import compiled_in_keras, without_gradients
from attention_ref.bench.workload import Call, Contestant, Workload
from attention_ref.spec import AttentionConfig

MODEL, HEADS = 512, 8


def multi_head(length: int, *, batch: int = 1, model: int = MODEL, heads: int = HEADS) -> Workload:
    """Return self-attention of a layer in float32 as a workload; all layers have the same weights.

    Arguments:
        length: the number of tokens.
        batch, model, heads: the other sizes.
    """
    config = AttentionConfig(model=model, heads=heads)
    given = np.random.default_rng(0).normal(size=(batch, length, model)).astype(np.float32)
    tokens = batch * length
    return Workload(
        operation="multi-head attention",
        length=length,
        sizes=f"batch {batch}, tokens {length}, model {model}, heads {heads}, float32",
        contestants=(
            Contestant("numpy", partial(_numpy, config, given)),
            Contestant("torch", partial(_torch, config, given), ("torch",)),
            Contestant("torch.nn", partial(_torch_nn, config, given), ("torch",), is_fused=True),
            Contestant("keras", partial(_keras, config, given), ("keras",)),
            Contestant("keras.layers", partial(_keras_layer, config, given), ("keras",), is_fused=True),
        ),
        operations=8.0 * tokens * model**2 + 4.0 * tokens * length * model,
        bytes=4.0 * (2 * given.size + 4 * model**2),
    )


def _parameters(config: AttentionConfig) -> dict[str, np.ndarray]:
    from attention_ref import weights

    return weights.init(config)


def _numpy(config: AttentionConfig, given: np.ndarray) -> Call:
    from attention_ref.numpy import MultiHeadAttention

    return partial(MultiHeadAttention(config, _parameters(config)), given)


def _torch(config: AttentionConfig, given: np.ndarray) -> Call:
    from attention_ref.torch import MultiHeadAttention

    return without_gradients(MultiHeadAttention(config, _parameters(config)).eval(), (given,))


def _torch_nn(config: AttentionConfig, given: np.ndarray) -> Call:
    import torch

    from attention_ref import weights

    arrays, _ = weights.write_layer("torch.nn.MultiheadAttention", config, _parameters(config))
    layer = torch.nn.MultiheadAttention(config.model, config.heads, batch_first=True).eval()
    layer.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return without_gradients(lambda x: layer(x, x, x, need_weights=False)[0], (given,))


def _keras(config: AttentionConfig, given: np.ndarray) -> Call:
    from attention_ref.keras import MultiHeadAttention

    return compiled_in_keras(MultiHeadAttention(config, _parameters(config)), (given,))


def _keras_layer(config: AttentionConfig, given: np.ndarray) -> Call:
    import keras

    from attention_ref import weights

    size = config.model // config.heads
    layer = keras.layers.MultiHeadAttention(config.heads, size)
    layer.build(given.shape, given.shape)
    sized = replace(config, head_size=size)  # an argument of the layer of Keras
    arrays, _ = weights.write_layer("keras.layers.MultiHeadAttention", sized, _parameters(config))
    for variable in layer.weights:
        variable.assign(_of(arrays, variable.path))
    return compiled_in_keras(lambda x: layer(x, x), (given,))


def _of(arrays: dict[str, Any], path: str) -> Any:
    """Return the array of a variable, whose path has the name of its layer before that of the array."""
    return next(array for name, array in arrays.items() if path.endswith(name))
