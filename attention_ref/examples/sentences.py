"""A classifier of sentences (article E): is it praise? A word of praise or blame may have a "not" before it.

A bag of words cannot do it: "not bad but slow" and "bad but not slow" have the same words. Positions tell them apart.
"""

from __future__ import annotations

import numpy as np
import torch

from attention_ref.spec import HeadConfig, ModelConfig
from attention_ref.torch import Transformer

PADDING, CLASS, NOT, GOOD, BAD = range(5)
NAMES = {NOT: "not", GOOD: "good", BAD: "bad"}
FILLERS = ["the", "a", "soup", "was", "we", "had", "some", "tea", "here"]
WORDS = 5 + len(FILLERS)
LONGEST = 10

CONFIG = ModelConfig.encoder(
    vocab=WORDS,
    model=32,
    heads=4,
    layers=2,
    feedforward=64,
    order="post",
    dropout=0.05,
    head=HeadConfig(kind="classifier", size=2, bias=True),  # reads the first place, where the class token stands
)


def draw(generator: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw sentences `(b,l)`, their lengths `(b,)`, and whether each is praise `(b,)`."""
    tokens = np.full((size, LONGEST), PADDING)
    lengths = generator.integers(6, LONGEST + 1, size)
    labels = np.zeros(size, np.int64)
    for row, length in enumerate(lengths):
        tokens[row, :length] = generator.integers(5, WORDS, length)
        tokens[row, 0] = CLASS
        verdict, nearby = generator.permutation(np.arange(2, length))[:2]
        tokens[row, [verdict - 1, nearby]] = NOT, NOT  # one may be before the verdict, one anywhere
        if generator.random() < 0.5:
            tokens[row, verdict - 1] = generator.integers(5, WORDS)
        word = generator.choice([GOOD, BAD])
        tokens[row, verdict] = word
        labels[row] = (word == GOOD) != (tokens[row, verdict - 1] == NOT)
    return tokens, lengths, labels


def words(tokens: np.ndarray) -> str:
    """Write a sentence out."""
    names = NAMES | dict(enumerate(FILLERS, start=5))
    return " ".join(names[token] for token in tokens if token not in {PADDING, CLASS})


def train(steps: int = 600, seed: int = 0) -> Transformer:
    """Train a classifier from scratch, on fresh sentences all the time."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = Transformer(CONFIG).train()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 3 * min(1.0, (step + 1) / 50))
    for _ in range(steps):
        tokens, lengths, labels = map(torch.as_tensor, draw(generator, 64))
        loss = torch.nn.functional.cross_entropy(model(tokens, lengths=lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: Transformer, seed: int = 1, size: int = 500) -> float:
    """Return the accuracy on new sentences."""
    tokens, lengths, labels = map(torch.as_tensor, draw(np.random.default_rng(seed), size))
    return float((model(tokens, lengths=lengths).argmax(-1) == labels).double().mean())


if __name__ == "__main__":
    print(f"{accuracy(train()):.1%} of fresh sentences are judged rightly")
