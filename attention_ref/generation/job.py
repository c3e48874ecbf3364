"""The arguments of generation: the table of rules that they must meet, and the checked job."""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.errors import reject

Array = np.ndarray[Any, Any]


class Job(NamedTuple):
    """A checked call of generation.

    Arguments:
        model: of any backend.
        prompt: integers `(b,p)`, padded on the right.
        prompt_lengths: how many tokens of each prompt are not padding, `(b,)`.
        length, stop, padding, source, source_lengths: as in `greedy`.
    """

    model: Any
    prompt: Array
    prompt_lengths: Array
    length: int
    stop: int | None
    padding: int
    source: Any
    source_lengths: Array | None


class Call(NamedTuple):
    """The arguments on which the rules of others depend; integers are NumPy arrays."""

    model: Any
    length: Any
    prompt: Any
    source: Any

    @property
    def most(self) -> int:
        """The largest number of tokens or beams."""
        return 2**31 - 1

    @property
    def batch(self) -> int:
        """b, the number of prompts."""
        return len(self.prompt)

    @property
    def last_read(self) -> int:
        """The largest token of the decoder's embedding."""
        return int(self.model.config.decoder_stack.embedding.vocab) - 1

    @property
    def last_written(self) -> int:
        """The largest token that the head scores."""
        return int(self.model.config.head.size) - 1

    @property
    def has_encoder(self) -> bool:
        """Whether the model has an encoder."""
        return self.model.config.encoder_stack is not None

    @property
    def last_of_source(self) -> int | None:
        """The largest token of the encoder's embedding; None if it has no tokens."""
        vocabulary = self.model.config.encoder_stack.embedding.vocab if self.has_encoder else None
        return None if vocabulary is None else int(vocabulary) - 1

    @property
    def source_length(self) -> int:
        """s, the length of the source in the encoder."""
        embedding = self.model.config.encoder_stack.embedding
        if embedding.patches is not None:
            return int(embedding.patches.length)
        length = int(np.shape(self.source)[1])
        return (length + 1) // 2 if embedding.audio is not None else length  # its second convolution has stride 2


class Rule(NamedTuple):
    """A rule for one argument.

    Arguments:
        argument: its name.
        text: the rule, in words.
        is_met: returns whether a value meets the rule.
    """

    argument: str
    text: str
    is_met: Callable[[Any, Call], bool]


RULES = (
    Rule("model", "a decoder or an encoder-decoder with a language head", lambda x, _: _has_language_head(x)),
    Rule("length", "an integer from 1 to {call.most}", lambda x, call: _is_integer(x, 1, call.most)),
    Rule("prompt", "integers (b,p) with b and p of at least 1", lambda x, _: _is_matrix(x)),
    Rule("prompt", "tokens from 0 to {call.last_read}", lambda x, call: _lie_within(x, 0, call.last_read)),
    Rule(
        "prompt_lengths",
        "integers ({call.batch},) from 1 to {call.prompt.shape[1]}, or None",
        lambda x, call: x is None or _are_lengths(x, call.batch, 1, call.prompt.shape[1]),
    ),
    Rule("padded", "'left' or 'right'", lambda x, _: isinstance(x, str) and x in ("left", "right")),
    Rule(
        "stop",
        "a token from 0 to {call.last_written}, or None",
        lambda x, call: x is None or _is_integer(x, 0, call.last_written),
    ),
    Rule("padding", "a token from 0 to {call.last_read}", lambda x, call: _is_integer(x, 0, call.last_read)),
    Rule("source", "given to an encoder-decoder", lambda x, call: x is not None or not call.has_encoder),
    Rule("source", "None for a decoder", lambda x, call: x is None or call.has_encoder),
    Rule("source", "one row for each of {call.batch} prompts", lambda x, call: x is None or _rows(x) == call.batch),
    Rule(
        "source",
        "integers (b,s), s of at least 1, of tokens from 0 to {call.last_of_source}",
        lambda x, call: call.last_of_source is None or (_is_matrix(x) and _lie_within(x, 0, call.last_of_source)),
    ),
    Rule("source_lengths", "None without a source", lambda x, call: x is None or call.has_encoder),
    Rule(
        "source_lengths",
        "integers ({call.batch},) from 0 to {call.source_length}, or None",
        lambda x, call: x is None or _are_lengths(x, call.batch, 0, call.source_length),
    ),
    Rule("generator", "a numpy.random.Generator", lambda x, _: isinstance(x, np.random.Generator)),
    Rule("temperature", "a finite number above 0", lambda x, _: _is_finite(x) and x > 0),
    Rule("top_k", "an integer of at least 1, or None", lambda x, _: x is None or _is_integer(x, 1)),
    Rule("top_p", "a number above 0 and at most 1, or None", lambda x, _: x is None or (_is_finite(x) and 0 < x <= 1)),
    Rule("beams", "an integer from 1 to {call.most}", lambda x, call: _is_integer(x, 1, call.most)),
    Rule(
        "length_penalty",
        "a finite number with {call.length}^|length_penalty| of at most 1e200",
        lambda x, call: _is_finite(x) and abs(x) * math.log10(call.length) <= 200,
    ),
)
"""The rules in the order in which they are checked: each may rely on those before it."""


def checked_job(
    operation: str,
    own: Mapping[str, Any],
    model: Any,
    prompt: Any,
    *,
    length: int,
    stop: int | None = None,
    padding: int = 0,
    prompt_lengths: Any = None,
    padded: Literal["left", "right"] = "right",
    source: Any = None,
    source_lengths: Any = None,
) -> Job:
    """Check a call by the rules and return its job. The arguments are those of `greedy`, and two more.

    Arguments:
        operation: the name of the called function, for errors.
        own: the arguments that only this function has, by name.

    Raises:
        SpecificationError: for the first rule that is not met.
    """
    prompt, prompt_lengths, source_lengths = map(_integers, (prompt, prompt_lengths, source_lengths))
    call = Call(model, length, prompt, _integers(source))
    given = {"model": model, "length": length, "prompt": prompt, "prompt_lengths": prompt_lengths, "padded": padded}
    given |= {"stop": stop, "padding": padding, "source": call.source, "source_lengths": source_lengths, **own}
    for name, text, is_met in RULES:
        if name in given and not is_met(given[name], call):
            reject(operation, f"{name} must be {text.format(call=call)}", _received(given[name]))
    lengths = np.full(call.batch, prompt.shape[1]) if prompt_lengths is None else prompt_lengths
    moved = _to_the_left(prompt, lengths) if padded == "left" else prompt
    source = source if call.last_of_source is None else call.source
    return Job(model, moved[:, : lengths.max()], lengths, length, stop, padding, source, source_lengths)


def _to_the_left(prompt: Array, lengths: Array) -> Array:
    """Move each row's tokens from the right end to the left, and its padding to the right."""
    places = np.arange(prompt.shape[1]) + (prompt.shape[1] - lengths)[:, None]
    return np.take_along_axis(prompt, places % prompt.shape[1], axis=1)


def _integers(given: Any) -> Any:
    """Return integers as a NumPy array of int64, and anything else unchanged."""
    try:
        array = np.asarray(given)
    except Exception:  # noqa: BLE001 - ragged rows; arrays on another device; what raises anything when it is read
        return given
    fits = array.dtype.kind in "iu" and (array.size == 0 or array.max() < 1 << 63)
    return array.astype(np.int64) if fits and array.ndim else given


def _received(value: Any) -> str:
    """Describe an argument: an array by its dtype, shape and range."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if not shape or not isinstance(shape, Sequence) or dtype is None:
        return reprlib.repr(value)
    text = f"{dtype} {tuple(shape)}"
    is_range = isinstance(value, np.ndarray) and value.size and value.dtype.kind in "iu"
    return f"{text} from {value.min()} to {value.max()}" if is_range else text


def _has_language_head(model: Any) -> bool:
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig) or config.decoder_stack is None or config.head is None:
        return False
    vocabulary = config.decoder_stack.embedding.vocab
    return config.head.kind == "language" and vocabulary is not None and config.head.size <= vocabulary


def _is_matrix(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "i" and array.ndim == 2 and array.size > 0


def _lie_within(array: Any, lowest: int, highest: int) -> bool:
    return bool(lowest <= array.min() and array.max() <= highest)


def _are_lengths(lengths: Any, batch: int, lowest: int, highest: int) -> bool:
    is_vector = isinstance(lengths, np.ndarray) and lengths.dtype.kind == "i" and lengths.shape == (batch,)
    return is_vector and _lie_within(lengths, lowest, highest)


def _rows(source: Any) -> int | None:
    """Return the size of the first axis; None for ragged rows and for an array without axes."""
    try:
        return int(np.shape(source)[0])
    except Exception:  # noqa: BLE001 - what is given may raise anything when it is read
        return None


def _is_integer(value: Any, lowest: int, highest: float = math.inf) -> bool:
    try:
        return not isinstance(value, bool) and lowest <= operator.index(value) <= highest
    except TypeError:
        return False


def _is_finite(value: Any) -> bool:
    try:
        return type(value) is not bool and isinstance(value, Real) and math.isfinite(value)
    except OverflowError:  # an integer that overflows float64
        return False
