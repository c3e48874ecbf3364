"""Decoding: what is drawn follows its distribution, and every way equals one that reads the whole text at every step.

The independent implementations below have no cache, no batch and no room: they ask the specification for the scores of
a whole text, and follow the definitions in the docstrings of `attention_ref.generation` one row at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from attention_ref import generation, spec, weights
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec.arrays import as_array

Text = tuple[int, ...]

# ---- distributions


class Markov:
    """A model whose next token depends on the last one and on the step alone, with exactly known probabilities.

    Arguments:
        weights: of each token behind each token, integers `(n,n)`, or `(t,n,n)` for t steps in turn; probabilities are
            in proportion to them.
    """

    def __init__(self, weights: Any) -> None:
        weights = np.array(weights, np.float64)
        size = weights.shape[-1]
        self.config = spec.ModelConfig.decoder(vocab=size, model=4, heads=1, layers=1, feedforward=4)
        with np.errstate(divide="ignore"):
            self.scores = np.log(weights.reshape(-1, size, size))

    def step(self, tokens: np.ndarray, memory: None, *, cache: int | None, lengths: Any = None, **_: Any) -> Any:
        step = 0 if cache is None else cache + 1
        last = np.full(len(tokens), tokens.shape[1]) if lengths is None else lengths
        rows = np.take_along_axis(tokens, last[:, None] - 1, axis=1)[:, 0]
        return self.scores[step % len(self.scores), rows], step

    def select(self, cache: int, rows: np.ndarray) -> int:
        return cache


def distribution(weights: Sequence[int], temperature: float, top_k: int | None, top_p: float | None) -> list[Fraction]:
    """Return the exact probabilities of the tokens that `sample` draws from, for temperatures 1/2, 1 and 2."""
    power = {0.5: lambda x: x * x, 1.0: lambda x: x, 2.0: math.isqrt}[temperature]
    tempered = [Fraction(power(weight)) for weight in weights]
    ranked = sorted(range(len(weights)), key=lambda token: (-weights[token], token))[:top_k]
    total = sum(tempered[token] for token in ranked)
    left: list[int] = []
    for token in ranked:
        if top_p is None or sum(tempered[each] for each in left) < Fraction(top_p) * total:
            left.append(token)
    total = sum(tempered[token] for token in left)
    return [tempered[token] / total if token in left else Fraction(0) for token in range(len(weights))]


FALSE_ALARM = 1e-9
"""The probability with which a right sampler may exceed the bound of one token, under another seed."""
DRAWS = 20_000


def assert_follows(counts: np.ndarray, shares: np.ndarray) -> None:
    """Compare counts with probabilities, within Bernstein's inequality:

    P(|count - n p| >= t) <= 2 exp(-t^2 / (2 (n p (1 - p) + t / 3)))
    """
    number = counts.sum()
    bits = math.log(2 / FALSE_ALARM)
    bound = bits / 3 + np.sqrt(bits**2 / 9 + 2 * bits * number * shares * (1 - shares))
    assert (counts[shares == 0] == 0).all(), (counts, shares)
    assert (np.abs(counts - number * shares) <= bound).all(), (counts, shares)


WEIGHTS = {
    "distinct": [4, 64, 1, 25, 9, 16],
    "ties": [9, 16, 9, 1, 16, 9, 1],
    "equal": [1] * 8,
    "impossible tokens": [0, 16, 0, 4, 1, 0],
    "one token": [1],
    "almost certain": [1, 10**8],
}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", WEIGHTS)
def test_what_is_drawn_follows_its_distribution(name: str, temperature: float) -> None:
    weights = WEIGHTS[name]
    model, prompt = Markov([weights] * len(weights)), np.zeros((DRAWS, 1), np.int64)
    for seed, (top_k, top_p) in enumerate(
        itertools.product((None, 1, 2, 3, 5, 99), (None, 1e-12, 0.3, 0.5, 0.75, 0.97, 1.0))
    ):
        drawn = generation.sample(
            model,
            prompt,
            length=1,
            generator=np.random.default_rng(seed),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        shares = np.array(distribution(weights, temperature, top_k, top_p), np.float64)
        assert_follows(np.bincount(drawn.tokens[:, 0], minlength=len(weights)), shares)
        logarithms = np.log(np.array(weights)[drawn.tokens[:, 0]] / sum(weights))
        np.testing.assert_allclose(drawn.scores, logarithms, rtol=1e-13, atol=1e-15)


def test_pairs_of_drawn_tokens_follow_their_joint_distribution() -> None:
    weights = [[1, 4, 9], [25, 1, 4], [4, 4, 1]]
    options: dict[str, Any] = {"temperature": 0.5, "top_k": 2, "top_p": 0.97}
    drawn = generation.sample(
        Markov(weights), np.full((DRAWS, 1), 1), length=2, generator=np.random.default_rng(0), **options
    )
    rows = np.array([distribution(row, **options) for row in weights], np.float64)
    pairs = np.bincount(drawn.tokens[:, 0] * 3 + drawn.tokens[:, 1], minlength=9)
    assert_follows(pairs, (rows[1][:, None] * rows).ravel())


@pytest.mark.parametrize(("temperature", "shares"), [(1e-308, [0, 0.5, 0.5]), (1e308, [1 / 3] * 3)])
def test_extreme_temperatures_choose_the_best_or_any(temperature: float, shares: list[float]) -> None:
    model, prompt = Markov([[1, 4, 4]] * 3), np.zeros((DRAWS, 1), np.int64)
    drawn = generation.sample(
        model, prompt, length=1, generator=np.random.default_rng(0), temperature=temperature, top_p=1
    )
    assert_follows(np.bincount(drawn.tokens[:, 0], minlength=3), np.array(shares))


# ---- jobs, with and without a cache


def decoder(**options: Any) -> spec.ModelConfig:
    return spec.ModelConfig.decoder(**({"vocab": 6, "model": 8, "heads": 2, "layers": 1, "feedforward": 8} | options))


CONFIGS = {
    "sinusoids": decoder(layers=2),
    "learned positions": decoder(positions=spec.Learned(length=12, offset=2), order="post"),
    "rotary": decoder(
        heads=4,
        kv_heads=2,
        positions=spec.Rotary(),
        bias=False,
        norm=spec.Norm("rms", eps=1e-6),
        gated=True,
        activation="silu",
    ),
    "encoder-decoder": spec.ModelConfig.encoder_decoder(
        vocab=7, target_vocab=6, model=8, heads=2, layers=1, feedforward=8
    ),
}
VOCABULARY = 6


@cache
def parameters(name: str) -> Mapping[str, np.ndarray]:
    generator = np.random.default_rng(7)
    shapes = {each: array.shape for each, array in weights.init(CONFIGS[name]).items()}
    return {each: generator.normal(scale=0.6, size=shape) for each, shape in shapes.items()}


@cache
def specified(name: str) -> Any:
    tree = {each: as_array(array.tolist()) for each, array in parameters(name).items()}
    return spec.Transformer(CONFIGS[name], tree)


@cache
def log_probabilities(name: str, source: Text, text: Text) -> np.ndarray:
    """Read a source and a whole text, and return the logarithms of the probabilities of the next token."""
    inputs = ([list(source)], [list(text)]) if source else ([list(text)],)
    last = np.array(specified(name)(*inputs)[(0, len(text) - 1)])
    return last - last.max() - np.log(np.exp(last - last.max()).sum())


Next = Callable[[Text], np.ndarray]
"""The logarithms of the probabilities of the token behind a text."""
Found = tuple[Text, float]
"""The tokens of a row and their score."""


def one_by_one(after: Next, length: int, stop: int | None, choose: Callable[[np.ndarray], int]) -> Found:
    text: Text = ()
    score = 0.0
    while len(text) < length and (not text or text[-1] != stop):
        logarithms = after(text)
        text = (*text, choose(logarithms))
        score += logarithms[text[-1]]
    return text, score


def most_probable(logarithms: np.ndarray) -> int:
    return max(range(len(logarithms)), key=lambda token: (logarithms[token], -token))


def drawn_by(number: float, logarithms: np.ndarray, temperature: float, top_k: int | None, top_p: float | None) -> int:
    """Return the first token, the most probable one first, whose cumulative probability exceeds a number in [0, 1)."""
    ranked = sorted(range(len(logarithms)), key=lambda token: (-logarithms[token], token))[:top_k]
    shares = [math.exp(logarithms[token] / temperature) for token in ranked]
    shares = [share / sum(shares) for share in shares]
    if top_p is not None:
        shares = [share for i, share in enumerate(shares) if sum(shares[:i]) < top_p]
    reached = (i for i in range(len(shares)) if sum(shares[: i + 1]) > number * sum(shares))
    return ranked[next(reached)]


def by_beams(after: Next, length: int, stop: int | None, beams: int, penalty: float) -> Found:
    kept: list[Found] = [((), 0.0)]
    finished: list[Found] = []
    for step in range(1, length + 1):
        every = [
            ((*text, token), total + logarithm)
            for text, total in kept
            for token, logarithm in enumerate(after(text).tolist())
        ]
        best = sorted(every, key=lambda found: -found[1])[: 2 * beams]
        ends = [found for found in best if found[0][-1] == stop or step == length]
        finished += [(text, total / step**penalty) for text, total in ends]
        kept = [found for found in best if found not in ends][:beams]
        if len(finished) >= beams:
            break
    return max(finished[:beams], key=lambda found: found[1])


class Task(NamedTuple):
    """A random job: what `generation` is asked, and each row as the independent implementations see it."""

    name: str
    prompt: np.ndarray
    options: dict[str, Any]
    rows: list[Text]
    sources: list[Text]

    def after(self, row: int) -> Next:
        return lambda text: log_probabilities(self.name, self.sources[row], self.rows[row] + text)


def task(seed: int) -> Task:
    """Draw a job: which model, how many rows, how long, padded on which side and with what, and when it stops."""
    random = np.random.default_rng(seed)
    name = list(CONFIGS)[seed % len(CONFIGS)]
    batch, width, wide = (int(random.choice(pair)) for pair in ((1, 3), (1, 4), (1, 4)))  # few shapes compile soon
    prompt, lengths = random.integers(0, VOCABULARY, (batch, width)), random.integers(1, width + 1, batch)
    side = ("left", "right")[random.integers(2)]
    options: dict[str, Any] = {"length": int(random.integers(1, 6)), "padding": int(random.integers(VOCABULARY))}
    options |= {"stop": int(random.integers(VOCABULARY))} if random.random() < 0.7 else {}
    if (lengths < width).any() or random.random() < 0.5:
        options |= {"prompt_lengths": lengths, "padded": side}
    rows = [tuple(row[-n:] if side == "left" else row[:n]) for row, n in zip(prompt.tolist(), lengths, strict=True)]
    sources: list[Text] = [()] * batch
    if CONFIGS[name].encoder_stack is not None:
        source, kept = random.integers(0, 7, (batch, wide)), random.integers(1, wide + 1, batch)
        options |= {"source": source, "source_lengths": kept}
        sources = [tuple(row[:n]) for row, n in zip(source.tolist(), kept, strict=True)]
    return Task(name, prompt, options, rows, sources)


def build(room: ModuleType) -> Callable[[spec.ModelConfig, Mapping[str, Any]], Any]:
    """Return what builds a room's model for inference, in the dtype of its parameters."""
    return subject_of(room, room.__name__.rpartition(".")[-1], "").operations["Transformer"]


@pytest.fixture(scope="module")
def models(room: ModuleType, room_arrays: Framework) -> Callable[[str], Any]:
    """The models of a room by the names of their configurations, in float64."""

    def model(name: str) -> Any:
        tree = {each: room_arrays.make(array, "float64") for each, array in parameters(name).items()}
        return build(room)(CONFIGS[name], tree)

    return cache(model)


def assert_generated(found: generation.Generated, expected: Sequence[Found], padding: int) -> None:
    assert found.lengths.tolist() == [len(tokens) for tokens, _ in expected]
    longest = max(len(tokens) for tokens, _ in expected)
    assert found.tokens.tolist() == [[*tokens, *[padding] * (longest - len(tokens))] for tokens, _ in expected]
    np.testing.assert_allclose(found.scores, [score for _, score in expected], rtol=1e-9)


JOBS = range(20)


@pytest.mark.parametrize("seed", JOBS)
def test_greedy_decoding_is_that_without_a_cache(seed: int, models: Callable[[str], Any]) -> None:
    job = task(seed)
    found = generation.greedy(models(job.name), job.prompt, **job.options)
    length, stop = job.options["length"], job.options.get("stop")
    expected = [one_by_one(job.after(row), length, stop, most_probable) for row in range(len(job.rows))]
    assert_generated(found, expected, job.options["padding"])


@pytest.mark.parametrize("seed", JOBS)
def test_sampling_is_that_without_a_cache(seed: int, models: Callable[[str], Any]) -> None:
    job, random = task(seed), np.random.default_rng(seed)
    chosen = {
        "temperature": float(random.uniform(0.3, 2)),
        "top_k": (None, 1, 2, 4)[random.integers(4)],
        "top_p": (None, 0.4, 0.8, 1.0)[random.integers(4)],
    }
    generator = np.random.default_rng(seed)
    found = generation.sample(models(job.name), job.prompt, generator=generator, **job.options, **chosen)
    length, stop, batch = job.options["length"], job.options.get("stop"), len(job.rows)
    numbers = np.random.default_rng(seed).random((length, batch))  # one for each row at each step
    expected = []
    for row in range(batch):
        column = iter(numbers[:, row])
        expected.append(one_by_one(job.after(row), length, stop, lambda x: drawn_by(next(column), x, **chosen)))  # noqa: B023
    assert_generated(found, expected, job.options["padding"])


@pytest.mark.parametrize("seed", JOBS)
def test_beam_search_is_that_without_a_cache(seed: int, models: Callable[[str], Any]) -> None:
    job, random = task(seed), np.random.default_rng(seed)
    beams, penalty = int(random.choice([1, 3])), float(random.choice([0, 0.7, 1, 2, -1]))
    found = generation.beam_search(models(job.name), job.prompt, beams=beams, length_penalty=penalty, **job.options)
    length, stop = job.options["length"], job.options.get("stop")
    expected = [by_beams(job.after(row), length, stop, beams, penalty) for row in range(len(job.rows))]
    assert_generated(found, expected, job.options["padding"])


@pytest.mark.parametrize("seed", range(100))
def test_beam_searches_of_several_rows_end_one_by_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    model = Markov(random.integers(1, 1000, (6, 5, 5)))
    prompt, length, beams = random.integers(0, 5, (8, 1)), int(random.integers(1, 7)), int(random.integers(1, 5))
    stop, penalty = int(random.integers(5)), float(random.uniform(-1, 3))
    found = generation.beam_search(model, prompt, length=length, beams=beams, stop=stop, length_penalty=penalty)
    logarithms = model.scores - np.log(np.exp(model.scores).sum(axis=-1, keepdims=True))
    expected = [
        by_beams(lambda text, row=row: logarithms[len(text), (*row, *text)[-1]], length, stop, beams, penalty)
        for row in prompt.tolist()
    ]
    assert_generated(found, expected, 0)


@pytest.mark.parametrize("name", ["sinusoids", "encoder-decoder"])
def test_a_beam_that_holds_every_text_finds_the_best_one(name: str, models: Callable[[str], Any]) -> None:
    prompt, source, length = (1, 2), (3, 4) if name == "encoder-decoder" else (), 3
    given = {"source": [source]} if source else {}
    found = generation.beam_search(models(name), [prompt], length=length, beams=36, length_penalty=0, **given)
    totals = {
        text: sum(log_probabilities(name, source, prompt + text[:i])[token] for i, token in enumerate(text))
        for text in itertools.product(range(VOCABULARY), repeat=length)
    }
    best = max(totals, key=totals.__getitem__)
    assert_generated(found, [(best, totals[best])], 0)


# ---- refusals

NAN = float("nan")
ONES = np.ones((1, 2))
LENGTH = "length must be an integer from 1 to 2147483647"
MATRIX = "prompt must be integers (b,p) with b and p of at least 1"
LENGTHS = "prompt_lengths must be integers (1,) from 1 to 3, or None"
SOURCE = "source must be integers (b,s), s of at least 1, of tokens from 0 to 6"
SOURCE_LENGTHS = "source_lengths must be integers (1,) from 0 to 2, or None"
GENERATOR = "generator must be a numpy.random.Generator"
TEMPERATURE = "temperature must be a finite number above 0"
PENALTY = "length_penalty must be a finite number with 2^|length_penalty| of at most 1e200"

DECODER, ENCODER_DECODER = "sinusoids", "encoder-decoder"
SHOWN = [
    ("greedy", DECODER, LENGTH, "length", (-1, 0, True, 3.0, NAN, "3", None)),
    ("greedy", DECODER, MATRIX, "prompt", ([[True]], [[1.5]], "hello", [[1], [1, 2]], 3, None)),
    ("greedy", DECODER, LENGTHS, "prompt_lengths", (2, [2.0], "3", [True])),
    ("greedy", DECODER, "padded must be 'left' or 'right'", "padded", ("middle", 1, None, ["left"])),
    ("greedy", DECODER, "stop must be a token from 0 to 5, or None", "stop", ("</s>", -1, 6, 1.0, True)),
    ("greedy", DECODER, "padding must be a token from 0 to 5", "padding", (-1, 6, None, "<pad>")),
    ("greedy", ENCODER_DECODER, "source must be given to an encoder-decoder", "source", (None,)),
    ("greedy", ENCODER_DECODER, "source must be one row for each of 1 prompts", "source", (3, [[1], [1, 2]])),
    ("sample", DECODER, GENERATOR, "generator", (3, None, "0")),
    ("sample", DECODER, TEMPERATURE, "temperature", (NAN, math.inf, 0, 0.0, -1.0, "1", None, True)),
    ("sample", DECODER, "top_k must be an integer of at least 1, or None", "top_k", (0, -1, 2.5, "2", True, NAN)),
    (
        *("sample", DECODER, "top_p must be a number above 0 and at most 1, or None", "top_p"),
        (0, 0.0, -0.5, 1.5, NAN, math.inf, "0.5", True),
    ),
    ("sample", DECODER, "padded must be 'left' or 'right'", "padded", ("middle",)),
    ("beam_search", DECODER, "beams must be an integer from 1 to 2147483647", "beams", (2.5, 0, -1, True, "2", None)),
    ("beam_search", DECODER, PENALTY, "length_penalty", (NAN, math.inf, "1", None, True, 1000)),
    ("beam_search", DECODER, "stop must be a token from 0 to 5, or None", "stop", ("</s>",)),
]
"""Operation, model, rule, argument, and values that are received as they are written."""
DESCRIBED = [
    ("greedy", DECODER, MATRIX, "prompt", ONES, "float64 (1, 2)"),
    ("greedy", DECODER, MATRIX, "prompt", [1, 2], "int64 (2,) from 1 to 2"),
    ("greedy", DECODER, MATRIX, "prompt", np.ones((2, 0), int), "int64 (2, 0)"),
    ("greedy", DECODER, MATRIX, "prompt", np.ones((0, 2), int), "int64 (0, 2)"),
    ("greedy", DECODER, "prompt must be tokens from 0 to 5", "prompt", [[1, 6]], "int64 (1, 2) from 1 to 6"),
    ("greedy", DECODER, "prompt must be tokens from 0 to 5", "prompt", [[-1, 1]], "int64 (1, 2) from -1 to 1"),
    ("greedy", DECODER, LENGTHS, "prompt_lengths", [0], "int64 (1,) from 0 to 0"),
    ("greedy", DECODER, LENGTHS, "prompt_lengths", [4], "int64 (1,) from 4 to 4"),
    ("greedy", DECODER, LENGTHS, "prompt_lengths", [1, 2], "int64 (2,) from 1 to 2"),
    ("greedy", DECODER, "source must be None for a decoder", "source", [[1]], "int64 (1, 1) from 1 to 1"),
    (
        "greedy",
        DECODER,
        "source_lengths must be None without a source",
        "source_lengths",
        [1],
        "int64 (1,) from 1 to 1",
    ),
    ("greedy", ENCODER_DECODER, "source must be one row for each of 1 prompts", "source", np.ones((2, 3)), "float64"),
    ("greedy", ENCODER_DECODER, SOURCE, "source", ONES, "float64 (1, 2)"),
    ("greedy", ENCODER_DECODER, SOURCE, "source", [[7]], "int64 (1, 1) from 7 to 7"),
    ("greedy", ENCODER_DECODER, SOURCE_LENGTHS, "source_lengths", [3], "int64 (1,) from 3 to 3"),
    ("greedy", ENCODER_DECODER, SOURCE_LENGTHS, "source_lengths", [-1], "int64 (1,) from -1 to -1"),
    ("sample", DECODER, GENERATOR, "generator", np.random.RandomState(0), "RandomState"),
    ("sample", DECODER, TEMPERATURE, "temperature", 10**400, "1000"),
]
"""The same, each with how its description begins."""
REFUSALS = [
    *((*case[:4], value, f"{value!r}") for case in SHOWN for value in case[4]),
    *DESCRIBED,
]
NEEDED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": {"generator": np.random.default_rng(0)},
    "beam_search": {"beams": 2},
}


def refusal(operation: str, model: Any, **options: Any) -> str:
    with pytest.raises(spec.SpecificationError) as error:
        getattr(generation, operation)(model, options.pop("prompt", [[1, 2, 3]]), **options)
    return str(error.value)


@pytest.mark.parametrize(("operation", "name", "rule", "argument", "value", "received"), REFUSALS)
def test_a_call_that_is_not_defined_is_refused(
    operation: str, name: str, rule: str, argument: str, value: Any, received: str, models: Callable[[str], Any]
) -> None:
    source = {"source": [[1, 2]]} if name == ENCODER_DECODER else {}
    options = {"length": 2} | NEEDED[operation] | source | {argument: value}
    first, second = refusal(operation, models(name), **options).splitlines()
    assert first == f"{operation}: {rule}."
    assert second.startswith(f"  received {received}")


DECODING = CONFIGS[DECODER]
WITHOUT_HEAD = {
    "no head": replace(DECODING, head=None),
    "a pooler": replace(DECODING, head=spec.HeadConfig(kind="pooler", size=6)),
    "an encoder": spec.ModelConfig.encoder(vocab=6, model=8, heads=2, layers=1, feedforward=8, head=DECODING.head),
    "more scores than tokens": replace(DECODING, head=spec.HeadConfig(kind="language", size=7)),
}


@pytest.mark.parametrize("name", WITHOUT_HEAD)
def test_a_model_without_a_language_head_is_refused(name: str, room: ModuleType, room_arrays: Framework) -> None:
    tree = {each: room_arrays.make(array, "float32") for each, array in weights.init(WITHOUT_HEAD[name]).items()}
    model = build(room)(WITHOUT_HEAD[name], tree)
    for operation, needed in NEEDED.items():
        text = refusal(operation, model, length=2, **needed)
        assert text.startswith(f"{operation}: model must be a decoder or an encoder-decoder with a language head")


def test_what_is_no_model_is_refused() -> None:
    assert "received 3" in refusal("greedy", 3, length=2)


@pytest.mark.parametrize("operation", NEEDED)
@pytest.mark.parametrize("bad", [NAN, math.inf])
@pytest.mark.parametrize("token", [1, 3])  # read with the prompt; read in the second step, as the only one possible
def test_scores_that_are_no_numbers_are_refused(operation: str, bad: float, token: int) -> None:
    model = Markov([[0, 0, 0, 1]] * 4)
    model.scores[:, token, 2] = bad
    text = refusal(operation, model, prompt=[[0, 1]], length=3, **NEEDED[operation])
    assert text.startswith(f"{operation}: each row of the model's scores must have a finite maximum, without NaN.")


def test_nan_in_the_parameters_of_a_room_is_refused(room: ModuleType, room_arrays: Framework) -> None:
    tree = {each: room_arrays.make(array * NAN, "float64") for each, array in parameters("rotary").items()}
    text = refusal("greedy", build(room)(CONFIGS["rotary"], tree), length=2)
    assert "received nan" in text


def test_an_argument_of_another_operation_is_refused(models: Callable[[str], Any]) -> None:
    with pytest.raises(TypeError, match="top_k"):
        generation.greedy(models("sinusoids"), [[1]], length=1, top_k=3)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_tokens_may_be_integers_of_any_size(dtype: str, models: Callable[[str], Any]) -> None:
    prompt, lengths = np.array([[1, 2, 3], [4, 0, 0]]), np.array([3, 1])
    right = generation.greedy(models("sinusoids"), prompt, length=3, prompt_lengths=lengths)
    found = generation.greedy(models("sinusoids"), prompt.astype(dtype), length=3, prompt_lengths=lengths.astype(dtype))
    np.testing.assert_array_equal(found.tokens, right.tokens)
