"""The gallery of wrong layers: the NumPy backend with a mistake put in, one for every clause beyond attention."""

from __future__ import annotations

from tests.wrong_layers import blocks, experts, functions, latent_layers, lost_options, models, multihead, positions
from tests.wrong_layers.record import WrongLayer

GALLERY: tuple[WrongLayer, ...] = tuple(
    wrong
    for module in (positions, functions, multihead, latent_layers, experts, blocks, models, lost_options)
    for wrong in module.MISTAKES
)

__all__ = ["GALLERY", "WrongLayer"]
