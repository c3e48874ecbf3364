"""Evidence for the oracle: has its closed form the sizes of rounding errors that the specification's tape has?

    python -m tests.oracle_evidence --count 5000

draws random calls of attention, small enough for the tape: every option alone, and as many mixed, scores from 1e-8 to
hundreds, near ties. The sizes of the results and of all gradients are compared with the tape, number by number: a line
for every result and kind of size has the smallest, the median and the largest ratio oracle / tape. `arithmetic` and
`storage`, of which budgets are made, are within a factor of 1.6. `underflow` and `storage_underflow`, which are
multiplied by the smallest numbers of a dtype, the oracle bounds from above: their smallest ratio is 1.

No number is left out:
- where the tape has exactly 0 and the oracle has not, the ratio is infinite; the other way round it is 0;
- sizes below 1e-230 count as 0, for the oracle squares them;
- sizes of `storage` are differences of squares, known to 2^-24 of the arithmetic size, which changes no budget; what
  differs by less counts as equal.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np

from attention_ref import oracle, spec
from attention_ref.spec import Array, Traced
from attention_ref.spec.numbers import stored
from attention_ref.spec.trace import gradients
from attention_ref.vectors.build.rounding_sizes import roundings

SHAPES = (  # (b,), h, g, q, k, d, v
    ((1,), 1, 1, 1, 1, 4, 4),
    ((1,), 1, 1, 4, 4, 8, 8),
    ((1,), 2, 1, 3, 6, 4, 2),
    ((2,), 2, 2, 3, 4, 4, 3),
    ((2,), 4, 2, 2, 3, 5, 2),
    ((1,), 1, 1, 1, 16, 8, 2),
    ((1,), 1, 1, 2, 8, 16, 2),
    ((1,), 1, 1, 8, 3, 2, 5),
    ((), 2, 1, 4, 2, 8, 4),
    ((2, 1), 2, 1, 2, 5, 4, 3),
    ((1,), 1, 1, 2, 3, 1, 1),
)
OPTIONS = ("mask", "bias", "causal", "window", "key_lengths", "scale", "softcap", "sinks", "dropout")
LOWEST, HIGHEST = 0.6, 1.6
TINY = 1e-230
NOISE = 2.0**-24
BOUNDED = ("underflow", "storage_underflow")
"""Results whose errors the oracle bounds from above."""


class Call(NamedTuple):
    """The arguments of one call and the cotangent of its output."""

    arrays: dict[str, np.ndarray]
    options: dict[str, Any]
    cotangent: np.ndarray


def draw(seed: int) -> Call:
    """Draw a call with one option alone where the seed is odd, in turn, or else with some of them."""
    rng = np.random.default_rng([seed, 7])
    batch, h, g, q, k, d, v = SHAPES[rng.integers(len(SHAPES))]
    alone = {OPTIONS[seed // 2 % len(OPTIONS)]}
    chosen = alone if seed % 2 else {name for name in OPTIONS if rng.random() < 0.3}
    size = rng.choice([1e-4, 0.3, 1.0, 1.0, 3.0, 10.0])
    arrays = {
        "query": rng.normal(size=(*batch, h, q, d)) * size,
        "key": rng.normal(size=(*batch, g, k, d)) * size,
        "value": rng.normal(size=(*batch, g, k, v)),
    }
    if rng.random() < 0.15:  # near ties
        arrays["key"][...] = arrays["key"][..., :1, :] + 1e-3 * arrays["key"]
    more, options = draw_options(rng, batch, (*batch, h, q, k), chosen)
    return Call(arrays | more, options, rng.normal(size=(*batch, h, q, v)))


def draw_options(
    rng: np.random.Generator, batch: tuple[int, ...], scores: tuple[int, ...], chosen: set[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Draw the arrays and the other values of the chosen options; `scores` is `(b,h,q,k)`."""
    chosen = chosen | ({"dropout_mask"} if "dropout" in chosen else set())
    chosen |= {"query_offset"} if chosen & {"causal", "window"} and rng.random() < 0.7 else set()
    arrays = {name: array for name, array in _arrays(rng, batch, scores).items() if name in chosen}
    return arrays, _options(rng, scores[-1], chosen)


def _arrays(rng: np.random.Generator, batch: tuple[int, ...], scores: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Draw every array that is optional."""
    key_length = scores[-1]
    bias = rng.normal(size=_repeated(rng, scores))
    bias[rng.random(bias.shape) < 0.1] = -np.inf
    return {
        "mask": rng.random(_repeated(rng, scores)) < 0.7,
        "bias": bias,
        "sinks": rng.normal(size=scores[-3]),
        "dropout_mask": rng.random(_repeated(rng, scores)) < 0.7,
        "key_lengths": rng.integers(0, key_length + 1, size=batch),
        "query_offset": rng.integers(0, key_length + 1, size=batch if rng.random() < 0.5 else ()),
    }


def _options(rng: np.random.Generator, key_length: int, chosen: set[str]) -> dict[str, Any]:
    """Draw the options that are no arrays."""
    drawn = {
        "dropout": 0.3,
        "causal": True,
        "window": (int(rng.integers(0, key_length)), [None, 1][rng.integers(2)]),
        "scale": float(rng.uniform(-0.2, 1.0)),
        "softcap": float(rng.choice([1.0, 5.0, 30.0])),
    }
    return {name: option for name, option in drawn.items() if name in chosen}


def _repeated(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Draw a shape that broadcasts to another."""
    sizes = [size if rng.random() < 0.7 else 1 for size in shape]
    return tuple(sizes[rng.integers(0, len(sizes) - 1) :]) if rng.random() < 0.3 else tuple(sizes)


def taped(call: Call) -> dict[str, tuple[np.ndarray, oracle.Rounding]]:
    """Return the values and the sizes of every result and gradient as the tape has them."""
    wanted = {"return_weights": True, "return_log_sum_exp": True}
    results = spec.attention(**_traced(call, Traced), **call.options, **wanted)
    found = {name: _sizes(array) for name, array in zip(("output", "weights", "log_sum_exp"), results, strict=True)}
    arrays = _traced(call, lambda number: Traced(Traced(number)))
    output = spec.attention(**arrays, **call.options)
    pairs = zip(output.values, call.cotangent.ravel().tolist(), strict=True)
    pairs = [(value, Traced(amount)) for value, amount in pairs if isinstance(value, Traced)]
    leaves = {name: array for name, array in arrays.items() if array.dtype == "real"}
    numbers = [number for array in leaves.values() for number in array.values]
    slopes = iter(gradients([value for value, _ in pairs], [amount for _, amount in pairs], numbers))
    for name, array in leaves.items():
        found[f"d {name}"] = _sizes(Array(array.shape, [stored(next(slopes)) for _ in array.values], "real"))
    return found


def _traced(call: Call, make: Any) -> dict[str, Array]:
    kinds = {"b": "bool", "i": "integer", "f": "real"}
    found = {}
    for name, array in call.arrays.items():
        kind = kinds[array.dtype.kind]
        found[name] = Array(array.shape, [make(n) if kind == "real" else n for n in array.ravel().tolist()], kind)
    return found


def _sizes(array: Array) -> tuple[np.ndarray, oracle.Rounding]:
    """Results of no computation, such as the 0 and the -inf of an empty row, have the size 0."""
    places = [place for place, value in enumerate(array.values) if isinstance(value, Traced)]
    sizes = np.zeros((len(array.values), len(oracle.Rounding._fields)))
    sizes[places] = np.array(roundings([array.values[place] for place in places])).reshape(-1, sizes.shape[1])
    values = np.array([float(value) for value in array.values]).reshape(array.shape)
    return values, oracle.Rounding(*(row.reshape(array.shape) for row in sizes.T))


def by_oracle(call: Call) -> dict[str, oracle.Result]:
    """Return the same results of the oracle."""
    truth = oracle.attention(**call.arrays, **call.options, return_weights=True)
    slopes = oracle.gradients(**call.arrays, cotangent=call.cotangent, **call.options, fused=False)
    found = {name: getattr(truth, name) for name in ("output", "weights", "log_sum_exp")}
    return found | {f"d {name}": result for name, result in slopes.items()}


def ratios(call: Call) -> dict[tuple[str, str], np.ndarray]:
    """Return oracle / tape, by result and kind of size."""
    expected, found = taped(call), by_oracle(call)
    assert expected.keys() == found.keys()
    rows = {}
    for name, (_, tape) in expected.items():
        own = found[name].rounding._replace(double=0.0)
        rows[name, "arithmetic"] = ratio(own.arithmetic, tape.arithmetic, TINY)
        rows[name, "storage"] = ratio(own.storage, tape.storage, np.maximum(TINY, NOISE * tape.arithmetic))
        for field in BOUNDED:
            own_sum, sum = getattr(own, field), getattr(tape, field)
            is_noise = (field == "storage_underflow") & (tape.storage <= NOISE * tape.arithmetic)
            rows[name, field] = np.where(is_noise, 1.0, ratio(own_sum, sum, TINY))
    return rows


def ratio(left: np.ndarray, right: np.ndarray, noise: np.ndarray | float) -> np.ndarray:
    """Return left / right, 1 where they differ by no more than noise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(left - right) <= noise, 1.0, left / right)


def is_within(kind: str, values: np.ndarray) -> bool:
    """Return whether ratios are within their bounds."""
    lowest, highest = (1 - 1e-9, np.inf) if kind in BOUNDED else (LOWEST, HIGHEST)
    return not values.size or bool(values.min() >= lowest and values.max() <= highest)


def main() -> int:
    """Print a line for every result and kind of size; exit 1 where a ratio lies outside."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first call")
    arguments = parser.parse_args()
    seen: dict[tuple[str, str], list[np.ndarray]] = {}
    holds = True
    for seed in range(arguments.first, arguments.first + arguments.count):
        for (name, kind), values in ratios(draw(seed)).items():
            seen.setdefault((name, kind), []).append(values.ravel())
            if not is_within(kind, values):
                holds = False
                print(f"seed {seed}: {name}, {kind}: {values.min():.3g} to {values.max():.3g}", flush=True)
    print(f"{'result':14}{'size':18}{'numbers':>9}{'smallest':>9}{'median':>9}{'largest':>9}")
    for (name, kind), rows in sorted(seen.items()):
        every = np.concatenate(rows)
        figures = (every.min(), np.median(every), every.max())
        print(f"{name:14}{kind:18}{every.size:9,}" + "".join(f"{figure:9.3g}" for figure in figures))
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
