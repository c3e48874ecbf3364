"""Random inputs of a family, in its words and in ours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tests.families.family import Family

LENGTHS = np.array([5, 3])
TARGET_LENGTHS = np.array([5, 2])


class Inputs(NamedTuple):
    """The inputs of both models."""

    theirs: dict[str, np.ndarray]
    ours: tuple[np.ndarray, ...]
    options: dict[str, np.ndarray]


def random_inputs(family: Family, config: Any, seed: int) -> Inputs:
    """Make two sequences, images or sounds; the second sequence is shorter."""
    generator = np.random.default_rng(seed)
    if family.inputs == "image":
        image = _numbers(generator, 2, *_sides(config.image_size), config.num_channels)
        return Inputs({"pixel_values": image.transpose(0, 3, 1, 2)}, (image,), {})
    if family.inputs == "sound":
        sound = _numbers(generator, 2, 2 * config.max_source_positions, config.num_mel_bins)
        target, _ = _tokens(generator, config, TARGET_LENGTHS, config.vocab_size)
        theirs = {"input_features": sound.transpose(0, 2, 1), "decoder_input_ids": target}
        return Inputs(theirs, (sound, target), {})
    tokens, real = _tokens(generator, config, LENGTHS, config.vocab_size)
    theirs, ours, options = {"input_ids": tokens, "attention_mask": real}, (tokens,), {"lengths": LENGTHS}
    if family.inputs == "segments":
        types = generator.integers(0, config.type_vocab_size, tokens.shape)
        return Inputs({**theirs, "token_type_ids": types}, ours, {**options, "types": types})
    if family.inputs == "classified":
        tokens[np.arange(2), LENGTHS - 1] = config.eos_token_id
        target = np.roll(tokens, 1, axis=1)
        target[:, 0] = config.decoder_start_token_id
        return Inputs(theirs, (tokens, target), {**options, "target_lengths": LENGTHS})
    if family.inputs == "pair":
        vocab = getattr(config, "decoder_vocab_size", None) or config.vocab_size
        target, real = _tokens(generator, config, TARGET_LENGTHS, vocab)
        theirs |= {"decoder_input_ids": target, "decoder_attention_mask": real}
        return Inputs(theirs, (tokens, target), {**options, "target_lengths": TARGET_LENGTHS})
    return Inputs(theirs, ours, options)


def _numbers(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.normal(size=shape).astype(np.float32).astype(np.float64)


def _sides(size: Any) -> tuple[int, int]:
    return tuple(size) if isinstance(size, list | tuple) else (size, size)


def _tokens(generator: Any, config: Any, lengths: np.ndarray, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    real = np.arange(max(lengths)) < lengths[:, None]
    tokens = generator.integers(3, vocab, real.shape)
    padding = config.pad_token_id if getattr(config, "pad_token_id", None) is not None else 0
    return np.where(real, tokens, padding), real.astype(np.int64)
