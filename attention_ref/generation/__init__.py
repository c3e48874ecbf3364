"""Decoding: greedy, sampling and beam search, written once for the models of every backend.

A model is used through its `config` and three methods: `encode`, which encodes the source of an encoder-decoder;
`step`, which appends tokens to a cache and scores the next token; and `select`, which selects batch rows of a cache.
"""

from __future__ import annotations

from attention_ref.generation.beams import beam_search
from attention_ref.generation.decoding import Generated
from attention_ref.generation.stepwise import greedy, sample

__all__ = ["Generated", "beam_search", "greedy", "sample"]
