"""Evidence that layers keep their error budget: random configurations, inputs with every bit of their dtype used.

    python -m tests.random_layers --room torch --count 100

The truth and the sizes of rounding errors are the specification's, in 50 digits, as for the vectors. Every intermediate
is compared too. For every dtype a line says how many of the calls exceed their budget, and the median and the largest,
over calls, of the largest (error / budget) of a call. The Keras engine is chosen by KERAS_BACKEND.
"""

from __future__ import annotations

import argparse
import importlib
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from attention_ref.conformance.case import Case, case_of
from attention_ref.conformance.frameworks.interface import numpy_dtype
from attention_ref.conformance.outcome import PASSED, Result
from attention_ref.conformance.run import run
from attention_ref.conformance.subjects.room import room as subject_of
from attention_ref.spec import ModelConfig, Norm, RelativeBias, Rotary
from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, StackConfig
from attention_ref.spec.config import SINUSOID, AttentionConfig, BlockConfig, FeedForwardConfig, Learned
from attention_ref.spec.parameters import Parameter, parameters
from attention_ref.vectors.build.generate import solved
from attention_ref.vectors.build.recipe import Recipe
from attention_ref.vectors.call import Call

DTYPES = ("float64", "float32", "float16", "bfloat16")
OPERATIONS = ("MultiHeadAttention", "Block", "Transformer")
MODEL, BATCH, LENGTH, MEMORY, VOCAB = 8, 2, 4, 3, 7
NORMS = (Norm("layer", eps=1e-5), Norm("rms", eps=1e-5), Norm("layer", eps=1e-5, gain=False))
BUCKETS = RelativeBias(buckets=4, maximum_distance=4, bidirectional=False)


class Drawing:
    """A random layer with its inputs, the same for the same seed."""

    def __init__(self, seed: int, operation: str, dtype: str) -> None:
        self.name, self.operation, self.dtype = f"{operation}/random/{seed}-{dtype}", operation, dtype
        self.random = random.Random(self.name)

    def maybe(self, probability: float = 0.3) -> bool:
        """Draw whether an option is used."""
        return self.random.random() < probability

    def attention(self, **fixed: Any) -> AttentionConfig:
        """Draw an attention layer."""
        heads = self.random.choice((1, 2, 4))
        options: dict[str, Any] = {
            "kv_heads": self.random.choice((1, heads)),
            "head_size": self.random.choice((2, 4)),
            "rotary": self.random.choice((None, None, Rotary(), Rotary(interleaved=True, dimension=2))),
            "alibi": self.maybe(),
            "relative_bias": BUCKETS if self.maybe() else None,
            **self.query_key_norm(),
            "clip": 1.5 if self.maybe(0.2) else None,
            "trained_key_value": self.maybe(0.2),
            "causal": self.maybe(0.5),
            "window": self.random.choice((None, None, (1, None), (2, 0))),
            "softcap": 3.0 if self.maybe(0.2) else None,
            "sinks": self.maybe(),
            "output_bias": self.maybe(0.5),
        }
        options["alibi_factor"] = 0.5 if options["alibi"] and self.maybe() else 1.0
        if options["trained_key_value"]:
            options["window"] = None
        return AttentionConfig(model=MODEL, heads=heads, **{**options, **fixed})

    def query_key_norm(self) -> dict[str, Any]:
        """Draw a normalisation of queries and keys, and what it normalises."""
        if not self.maybe():
            return {}
        norm = self.random.choice((Norm("rms", eps=1e-5), Norm("layer", eps=1e-5)))
        return {
            "query_key_norm": norm,
            "query_key_norm_heads": self.random.choice(("shared", "separate", "joint")),
        }

    def block(self, attention: AttentionConfig, *, crosses: bool) -> BlockConfig:
        """Draw a block around an attention layer."""
        orders = ("post", "pre", "output", "sandwich") + (() if crosses else ("parallel",))
        gated, order = self.maybe(), self.random.choice(orders)
        is_changed = order == "pre" and self.maybe()
        changes: dict[str, Any] = {"residual": "norm"} if self.maybe(0.5) else {"self_attention_norm": False}
        return BlockConfig(
            attention=attention,
            feedforward=FeedForwardConfig(
                model=MODEL,
                hidden=6,
                gated=gated,
                activation=self.random.choice(("gelu", "silu", "relu_squared", "tanh")),
            ),
            norm=self.random.choice(
                (Norm("layer", eps=1e-5), Norm("rms", eps=1e-5), Norm("layer", eps=1e-5, gain=False))
            ),
            order=order,
            cross_attention=self.attention() if crosses else None,
            **(changes if is_changed else {}),
        )

    def stack(self, *, causal: bool, crosses: bool) -> StackConfig:
        """Draw a stack of two blocks over tokens."""
        positions = self.random.choice((None, SINUSOID, Learned(length=LENGTH)))
        embedding = EmbeddingConfig(vocab=VOCAB, positions=positions, scale=self.random.choice((1.0, MODEL**0.5)))
        block = self.block(self.attention(causal=causal), crosses=crosses)
        shared = BUCKETS if self.maybe() else None
        return StackConfig(embedding=embedding, blocks=(block,) * 2, relative_bias=shared, norm=block.norm)

    def model(self) -> ModelConfig:
        """Draw an encoder, a decoder or an encoder-decoder."""
        kind = self.random.choice(("encoder", "decoder", "encoder-decoder"))
        head = HeadConfig(kind="language", size=VOCAB, tied=True, scale=self.random.choice((1.0, MODEL**-0.5)))
        return ModelConfig(
            encoder_stack=self.stack(causal=False, crosses=False) if "encoder" in kind else None,
            decoder_stack=self.stack(causal=True, crosses=kind == "encoder-decoder") if "decoder" in kind else None,
            head=head,
        )

    def reals(self, *shape: int, size: float = 1.0, around: float = 0.0) -> np.ndarray:
        """Draw numbers that the dtype holds exactly, with every bit of it used."""
        numbers = np.array([self.random.gauss(around, size) for _ in range(int(np.prod(shape)))])
        return numbers.astype(numpy_dtype(self.dtype)).astype(np.float64).reshape(shape)

    def integers(self, below: int, *shape: int) -> np.ndarray:
        """Draw integers from 0 on."""
        return np.array([self.random.randrange(below) for _ in range(int(np.prod(shape)))], np.int64).reshape(shape)

    def parameter(self, parameter: Parameter) -> np.ndarray:
        """Draw a tensor of the parameter tree."""
        size = {"kernel": float(np.prod(parameter.shape[: parameter.inputs])) ** -0.5, "gain": 0.2, "bias": 0.3}
        return self.reals(*parameter.shape, size=size.get(parameter.kind, 1.0), around=parameter.start)

    def of_scores(self, keys: int, heads: int) -> dict[str, np.ndarray]:
        """Draw a mask and a bias of the scores."""
        drawn: dict[str, np.ndarray] = {}
        if self.maybe():
            shown = [self.maybe(0.7) for _ in range(BATCH * LENGTH * keys)]
            drawn["mask"] = np.array(shown, bool).reshape(BATCH, 1, LENGTH, keys)
        if self.maybe():
            drawn["bias"] = self.reals(heads, LENGTH, keys)
        return drawn

    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Draw how many new places every row takes in each of three calls."""
        cuts = [sorted(self.random.randint(0, LENGTH) for _ in range(2)) for _ in range(BATCH)]
        return tuple(zip(*([first, second - first, LENGTH - second] for first, second in cuts), strict=True))

    def recipe(self) -> Recipe:
        """Draw everything."""
        config, inputs, chunks = getattr(self, f"_{self.operation}")()
        tensors = {name: self.parameter(parameter) for name, parameter in parameters(config).items()}
        call = Call(self.operation, inputs, config=config, parameters=tensors, chunks=chunks)
        return Recipe(self.name, call, "random", gradient=False)

    def _MultiHeadAttention(self) -> tuple[Any, dict[str, np.ndarray], Any]:  # noqa: N802 - by the name of the operation
        config, inputs = self.attention(), {"query": self.reals(BATCH, LENGTH, MODEL)}
        if config.causal and self.maybe(0.4):
            return config, inputs, self.chunks()
        keys = LENGTH
        if self.maybe(0.4):
            inputs["key"], keys = self.reals(BATCH, MEMORY, MODEL), MEMORY
        if self.maybe():
            inputs["key_lengths"] = self.integers(keys + 1, BATCH)
        return config, {**inputs, **self.of_scores(keys, config.heads)}, ()

    def _Block(self) -> tuple[Any, dict[str, np.ndarray], Any]:  # noqa: N802 - by the name of the operation
        crosses = self.maybe(0.5)
        config, inputs = self.block(self.attention(), crosses=crosses), {"array": self.reals(BATCH, LENGTH, MODEL)}
        if crosses:
            inputs["memory"] = self.reals(BATCH, MEMORY, MODEL)
            if self.maybe():
                inputs["memory_lengths"] = self.integers(MEMORY + 1, BATCH)
        if config.attention.causal and self.maybe(0.4):
            return config, inputs, self.chunks()
        if self.maybe():
            inputs["key_lengths"] = self.integers(LENGTH + 1, BATCH)
        return config, {**inputs, **self.of_scores(LENGTH, config.attention.heads)}, ()

    def _Transformer(self) -> tuple[Any, dict[str, np.ndarray], Any]:  # noqa: N802 - by the name of the operation
        config, inputs = self.model(), {"source": self.integers(VOCAB, BATCH, LENGTH)}
        if config.kind == "encoder-decoder":
            inputs["target"] = self.integers(VOCAB, BATCH, LENGTH)
        if config.kind == "decoder" and self.maybe(0.4):
            return config, inputs, self.chunks()
        if self.maybe():
            inputs["lengths"] = self.integers(LENGTH + 1, BATCH)
        if config.kind == "encoder-decoder" and self.maybe(0.4):
            return config, inputs, self.chunks()
        return config, inputs, ()


@cache
def drawn(seed: int, operation: str, dtype: str) -> Case:
    """Return a random call of a layer with its truth."""
    return case_of(operation, "random", solved(Drawing(seed, operation, dtype).recipe()))


def results(room: str, seeds: Sequence[int], operation: str, dtype: str) -> list[Result]:
    """Return what a backend computes of random layers, compared with the truth."""
    module = importlib.import_module(f"attention_ref.{room}")
    checks = [(replace(drawn(seed, operation, dtype), dtypes=(dtype,)), dtype) for seed in seeds]
    return run(subject_of(module, room, ""), checks)


def main() -> int:
    """Print a line for every dtype and operation; exit 1 where a call exceeds its budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", default="numpy")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    arguments = parser.parse_args()
    failed = 0
    print(f"{'dtype':10}{'operation':20}{'calls':>7}{'exceed':>8}{'median':>9}{'largest':>10}", flush=True)
    for dtype in arguments.dtypes.split(","):
        for operation in OPERATIONS:
            seeds = range(arguments.first, arguments.first + arguments.count)
            found = results(arguments.room, seeds, operation, dtype)
            bad = [each for each in found if each.verdict != PASSED]
            ratios = [
                each.mismatch.error / each.mismatch.budget if each.mismatch else each.error_ratio or 0 for each in found
            ]
            figures = f"{len(found):7}{len(bad):8}{statistics.median(ratios):9.3f}{max(ratios):10.2f}"
            print(f"{dtype:10}{operation:20}{figures}", flush=True)
            for each in bad[:5]:
                print(f"  {each.case.id}: {each.reason or each.mismatch}", flush=True)
            failed += len(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
