"""Attention over the patches of an image (article A): which digit is it? The digits are drawn, not downloaded.

An image of 12 by 12 pixels is cut into nine squares of 4 by 4. Each square is a token: projected to the model size,
with a learned position; a trained class token stands in front and is what the classifier reads.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from attention_ref.spec import EmbeddingConfig, HeadConfig, Learned, ModelConfig, Patches
from attention_ref.torch import Transformer

SIDE = 12
SEGMENTS = {  # of a seven-segment display: rows and columns of a stroke, in a box of 9 by 5
    "top": (slice(0, 1), slice(0, 5)),
    "upper left": (slice(0, 5), slice(0, 1)),
    "upper right": (slice(0, 5), slice(4, 5)),
    "middle": (slice(4, 5), slice(0, 5)),
    "lower left": (slice(4, 9), slice(0, 1)),
    "lower right": (slice(4, 9), slice(4, 5)),
    "bottom": (slice(8, 9), slice(0, 5)),
}
LIT = ["1110111", "0010010", "1011101", "1011011", "0111010", "1101011", "1101111", "1010010", "1111111", "1111011"]

PATCHES = Patches(size=4, height=SIDE, width=SIDE, channels=1)
_STACK = ModelConfig.encoder(vocab=1, model=32, heads=4, layers=2, feedforward=64, order="post").encoder_stack
CONFIG = ModelConfig(
    encoder_stack=replace(_STACK, embedding=EmbeddingConfig(patches=PATCHES, positions=Learned(length=PATCHES.length))),
    head=HeadConfig(kind="classifier", size=10, bias=True),
)


def draw(generator: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images `(b,12,12,1)` of digits at any place, with noise, and the digits `(b,)`."""
    digits = generator.integers(0, 10, size)
    images = generator.normal(scale=0.2, size=(size, SIDE, SIDE, 1)).astype(np.float32)
    for image, digit in zip(images, digits, strict=True):
        top, left = generator.integers(0, SIDE - 9 + 1), generator.integers(0, SIDE - 5 + 1)
        box = image[top : top + 9, left : left + 5, 0]
        for (rows, columns), lit in zip(SEGMENTS.values(), LIT[digit], strict=True):
            if lit == "1":
                box[rows, columns] = 1
    return images, digits


def train(steps: int = 700, seed: int = 0) -> Transformer:
    """Train a classifier from scratch, on fresh images all the time."""
    generator = np.random.default_rng(seed)
    model = Transformer(CONFIG).train()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 3 * min(1.0, (step + 1) / 50))
    for _ in range(steps):
        images, digits = map(torch.as_tensor, draw(generator, 64))
        loss = torch.nn.functional.cross_entropy(model(images), digits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: Transformer, seed: int = 1, size: int = 500) -> float:
    """Return the accuracy on new images."""
    images, digits = map(torch.as_tensor, draw(np.random.default_rng(seed), size))
    return float((model(images).argmax(-1) == digits).double().mean())


if __name__ == "__main__":
    print(f"{accuracy(train()):.1%} of fresh images are read rightly")
