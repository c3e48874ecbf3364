"""Train the toy translation in PyTorch: the loop that PyTorch's users write."""

from __future__ import annotations

import numpy as np
import torch

from attention_ref.examples.translation import (
    BATCH,
    CONFIG,
    PADDING,
    STEPS,
    Batch,
    batch_of,
    draw,
    exact_match,
    learning_rate,
)
from attention_ref.torch import Transformer


def train(steps: int = STEPS, seed: int = 0) -> Transformer:
    """Train a model from scratch."""
    torch.manual_seed(seed)  # what dropout draws
    generator = np.random.default_rng(seed)  # what strings there are
    model = Transformer(CONFIG).train()
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98), eps=1e-9)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        loss = loss_of(model, batch_of(draw(generator, BATCH)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def loss_of(model: Transformer, batch: Batch) -> torch.Tensor:
    """Return the mean cross-entropy of the next token, where there is one: padding does not count."""
    source, lengths, read, predicted = (
        torch.as_tensor(array) for array in (batch.source, batch.lengths, batch.read, batch.predicted)
    )
    scores = model(source, read, lengths=lengths)  # (b,t,n); the decoder is causal by its configuration
    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), predicted.flatten().long(), ignore_index=PADDING)


def parameters(model: Transformer) -> dict[str, np.ndarray]:
    """Return the weights as every room takes them."""
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


if __name__ == "__main__":
    strings = draw(np.random.default_rng(1), 200, held_out=True)
    print(f"{exact_match(train(), strings):.1%} of {len(strings)} unseen strings are translated without an error")
