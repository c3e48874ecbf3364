"""Small models of the families of released models."""

from tests.families import decoders, deepseeks, encoders, experts, llamas, pairs

FAMILIES = (
    *decoders.FAMILIES,
    *llamas.FAMILIES,
    *experts.FAMILIES,
    *deepseeks.FAMILIES,
    *encoders.FAMILIES,
    *pairs.FAMILIES,
)
