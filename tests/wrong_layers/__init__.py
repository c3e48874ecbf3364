"""The gallery of wrong layers: the NumPy backend with a mistake put in, one for every clause beyond attention."""

from __future__ import annotations

from tests.wrong_layers import experts, functions, latent_layers, layers, models
from tests.wrong_layers.record import WrongLayer

GALLERY: tuple[WrongLayer, ...] = (
    *functions.MISTAKES,
    *layers.MISTAKES,
    *latent_layers.MISTAKES,
    *experts.MISTAKES,
    *models.MISTAKES,
)

__all__ = ["GALLERY", "WrongLayer"]
