"""Small models of the families of released models."""

from tests.families import decoders, encoders, llamas, pairs

FAMILIES = (*decoders.FAMILIES, *llamas.FAMILIES, *encoders.FAMILIES, *pairs.FAMILIES)
