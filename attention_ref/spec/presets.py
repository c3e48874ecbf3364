"""Configurations of published models."""

from __future__ import annotations

from attention_ref.spec.architecture import ModelConfig


def vaswani2017_base(vocab: int = 37000) -> ModelConfig:
    """The base model of "Attention Is All You Need" (2017), table 3.

    Example:
        >>> vaswani2017_base().decoder_stack.blocks[0].attention.heads
        8
    """
    return _vaswani2017(vocab, model=512, heads=8, feedforward=2048, dropout=0.1)


def vaswani2017_big(vocab: int = 37000) -> ModelConfig:
    """The big model of "Attention Is All You Need" (2017), table 3, with the dropout of English to German.

    Example:
        >>> vaswani2017_big().decoder_stack.blocks[0].attention.heads
        16
    """
    return _vaswani2017(vocab, model=1024, heads=16, feedforward=4096, dropout=0.3)


def _vaswani2017(vocab: int, *, model: int, heads: int, feedforward: int, dropout: float) -> ModelConfig:
    return ModelConfig.encoder_decoder(
        vocab=vocab,
        model=model,
        heads=heads,
        layers=6,
        feedforward=feedforward,
        order="post",
        activation="relu",
        dropout=dropout,
    )
