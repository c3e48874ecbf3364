"""The other side: a small model of `transformers` with random values in every tensor, computed in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers

from tests.families.family import Family

COMPUTED = "embed_positions.weight"
"""Tables that Marian computes for itself and does not save: they stay as they are."""


@contextmanager
def only_float64() -> Iterator[None]:
    """Make float32 mean float64, in which these models compute softmax, norms and angles whatever their dtype."""
    before = torch.get_default_dtype()
    changes = {"float32": torch.float64, "float": torch.float64, "FloatTensor": torch.DoubleTensor}
    with mock.patch.multiple(torch, **changes), mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def peer_class(family: Family) -> Any:
    """Return the class of `transformers`."""
    return getattr(transformers, family.model)


def config_of(family: Family, **more: Any) -> Any:
    """Return the configuration of a family's model; a copy, because `transformers` changes what it is given."""
    return peer_class(family).config_class(**{**deepcopy(dict(family.options)), **more})


class Peer:
    """A model of `transformers`: its `config`, its files, and what it answers."""

    def __init__(self, family: Family, seed: int) -> None:
        self.family = family
        self.paths = {"attn_implementation": family.attention, "experts_implementation": "eager"}
        model, config = peer_class(family), config_of(family, **self.paths)
        with only_float64():
            self.model = model(config).double().eval()
        for name in family.untied:
            module = self.model.get_submodule(name)
            module.weight = torch.nn.Parameter(module.weight.detach().clone())
        self.config = self.model.config
        self._fill(torch.Generator().manual_seed(seed))

    def _fill(self, generator: torch.Generator) -> None:
        for name, tensor in self.model.state_dict().items():
            if self.config.model_type == "marian" and name.endswith(COMPUTED):
                continue
            values = 0.3 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            is_gain = tensor.ndim == 1 and name.endswith("weight")
            tensor.copy_((values + is_gain).to(torch.float32))  # so that float32 holds the same numbers

    def save(self, folder: Path) -> Path:
        """Save it as `transformers` does."""
        self.model.save_pretrained(folder)
        return folder

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return the output of the model and, if it has an encoder, the output of the encoder."""
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        with only_float64(), torch.no_grad():
            results: Any = self.model(**tensors, use_cache=False) if _has_cache(self.model) else self.model(**tensors)
        names = (self.family.output, "encoder_last_hidden_state", "last_hidden_state")
        return {name: results[name].numpy() for name in names if name in results}


def _has_cache(model: Any) -> bool:
    return hasattr(model.config, "use_cache")
