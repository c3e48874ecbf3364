"""Decoding: greedy, sampled and by beam search, written once over the model of any room.

A model takes part through its `config` and three methods: `encode`, which reads the source of an encoder-decoder;
`step`, which reads tokens behind a cache and scores the next token; and `select`, which picks batch rows of a cache.
"""

from __future__ import annotations

from attention_ref.generation.beams import beam_search
from attention_ref.generation.decoding import Generated
from attention_ref.generation.stepwise import greedy, sample

__all__ = ["Generated", "beam_search", "greedy", "sample"]
