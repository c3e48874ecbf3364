"""Small models of the families of released models."""

from tests.families import decoders, encoders, experts, llamas, pairs

FAMILIES = (*decoders.FAMILIES, *llamas.FAMILIES, *experts.FAMILIES, *encoders.FAMILIES, *pairs.FAMILIES)
