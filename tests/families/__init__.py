"""The families of released models that the specification must be able to compute."""

from tests.families import bart, bert, gpt, llama, t5, vit

FAMILIES = (*gpt.FAMILIES, *llama.FAMILIES, *bert.FAMILIES, *t5.FAMILIES, *bart.FAMILIES, *vit.FAMILIES)
