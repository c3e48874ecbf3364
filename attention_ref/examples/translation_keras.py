"""Train the toy translation in Keras, on any of its engines: `compile` and `fit`, as Keras's users write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from attention_ref.examples.translation import (
    BATCH,
    CONFIG,
    PADDING,
    PEAK,
    STEPS,
    WARMUP,
    batch_of,
    draw,
    exact_match,
)
from attention_ref.keras import Transformer

FAST = {
    "tensorflow": {"steps_per_execution": 25, "jit_compile": False},
    "jax": {"steps_per_execution": 25, "jit_compile": True},
    "torch": {"jit_compile": False},
}
"""What makes the training of so small a model quick on each engine; its results are the same without."""


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a step: `translation.learning_rate`, for an optimiser that counts steps in a tensor."""

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, counted from 0."""
        step = ops.cast(step, "float32") + 1
        return PEAK * ops.minimum(step / WARMUP, ops.sqrt(WARMUP / step))

    def get_config(self) -> dict[str, Any]:
        """Return nothing: the schedule has no settings."""
        return {}


def train(steps: int = STEPS, seed: int = 0) -> Transformer:
    """Train a model from scratch."""
    keras.utils.set_random_seed(seed)  # what dropout draws
    model = Transformer(CONFIG)
    optimizer = keras.optimizers.Adam(WarmUp(), beta_2=0.98, epsilon=1e-9)
    trainee = of_three_inputs(model)
    trainee.compile(optimizer, loss(), **FAST[keras.backend.backend()])
    trainee.fit(batches(seed), steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)
    return model


def of_three_inputs(model: Transformer) -> keras.Model:
    """Wrap a model so that `fit` can give it source, target and lengths."""
    source, target, lengths = (keras.Input(shape, dtype="int32") for shape in ((None,), (None,), ()))
    return keras.Model([source, target, lengths], model(source, target, lengths=lengths))


def loss() -> keras.losses.Loss:
    """Return the mean cross-entropy of the next token, where there is one: padding does not count."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PADDING)


def batches(seed: int) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
    """Draw batches without end: what the model is given, and what it must say."""
    generator = np.random.default_rng(seed)  # what strings there are
    while True:
        batch = batch_of(draw(generator, BATCH))
        yield (batch.source, batch.read, batch.lengths), batch.predicted


def parameters(model: Transformer) -> dict[str, np.ndarray]:
    """Return the weights as every room takes them."""
    return model.parameter_arrays()


if __name__ == "__main__":
    strings = draw(np.random.default_rng(1), 200, held_out=True)
    print(f"{exact_match(train(), strings):.1%} of {len(strings)} unseen strings are translated without an error")
