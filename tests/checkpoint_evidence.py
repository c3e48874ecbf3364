"""Evidence for checkpoints: random configurations of every family, and every key of every family changed.

    python -m tests.checkpoint_evidence configurations --count 20 --rooms numpy,torch,keras
    python -m tests.checkpoint_evidence keys

`configurations` saves models of `transformers` with random configurations and random values in every tensor, reads the
folders and compares the answers of the backends: in float64 to 1e-10 of the largest answer, in float32 within the
budget of the model. A line for each model says the largest error in float64 and the largest share of the budget in
float32.

`keys` changes every attribute of every configuration class, one at a time, to several other values, and then, `--count`
times, several attributes together. Whatever `transformers` computes must be computed by us too, to 1e-10, or refused.

Both also take names of test models. The exit code says whether anything was wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import transformers

import attention_ref.numpy
from attention_ref import weights
from attention_ref.conformance.divergence.room_recorder import RoomRecorder
from attention_ref.conformance.divergence.spread import RUNS, budget, spread
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.errors import SpecificationError
from tests.families import FAMILIES
from tests.families.family import Family
from tests.families.inputs import Inputs, random_inputs
from tests.families.peer import Peer, config_of, peer_class
from tests.families.rooms import in_room

TOLERANCE = 1e-10
SIZES = {
    "vocab_size": (19, 23, 40),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"), (5, 12, 20)
    ),
}
"""Sizes that every configuration may have, whatever its other keys."""
WORDS = (
    "relu",
    "gelu_new",
    "tanh",
    "silu",
    "swish",
    "sigmoid",
    "mish",
    "gelu_fast",
    "linear",
    "relative_key",
    "mean",
    "x",
)
ROPES = tuple(
    {"rope_type": kind, "factor": 2.0, **more}
    for kind in ("linear", "dynamic", "yarn", "llama3", "longrope", "proportional")
    for more in ({}, {"attention_factor": 1.3}, {"beta_fast": 3.0}, {"partial_rotary_factor": 0.5})
)
NOT_CHANGED = {"model_type", "architectures", "transformers_version", "dtype", "id2label", "label2id", "return_dict"}
TABLES_THAT_END = {("mpt", "max_seq_len")}
"""Lengths of tables that these calls exceed, where `transformers` computes something else in place of an error."""


class Case:
    """A model of `transformers`, what it was asked and what it answers, and the same model as it is read from disk."""

    def __init__(self, family: Family, seed: int) -> None:
        self.family, self.peer = family, Peer(family, seed)
        with TemporaryDirectory() as folder:
            self.config, self.parameters = weights.read(self.peer.save(Path(folder)))
        self.inputs: Inputs = random_inputs(family, self.peer.config, seed)
        self.expected = self.peer(**self.inputs.theirs)[family.output]

    def errors(self, room: str, dtype: str) -> np.ndarray:
        """Return the errors of a backend at what is not padding."""
        parameters = {name: array.astype(dtype) for name, array in self.parameters.items()}
        actual = in_room(room, dtype)(self.config, parameters)(*self.inputs.ours, **self.inputs.options)
        if actual.shape != self.expected.shape:
            raise AssertionError(f"the shape is {actual.shape}, not {self.expected.shape}")
        return self.compared(np.abs(actual - self.expected))

    def compared(self, array: np.ndarray) -> np.ndarray:
        """Return what is not padding of answers."""
        ends = self.inputs.options.get("target_lengths", self.inputs.options.get("lengths"))
        return array[np.arange(array.shape[1]) < ends[:, None]] if array.ndim == 3 and ends is not None else array

    def relative(self, errors: np.ndarray) -> float:
        """Return the largest error as a share of the largest answer."""
        return float(errors.max() / (np.abs(self.expected).max() or 1.0))

    def budget(self) -> np.ndarray:
        """Return the largest error that is allowed in float32."""
        inputs = {**dict(zip(("source", "target"), self.inputs.ours, strict=False)), **self.inputs.options}
        model = attention_ref.numpy.Transformer(self.config, self.parameters)
        sizes = [*spread(RoomRecorder(model, inputs, "numpy", is_exact=True), {}, RUNS, 0).values()][-1]
        known = self.family.known * np.abs(self.expected).max()
        return self.compared(budget(sizes, DTYPES["float32"].unit_roundoff) + known)


def one_of_each() -> list[Family]:
    """Return the models whose configurations are varied, at least one of each family."""
    return [family for family in FAMILIES if family.varied]


def configurations(families: list[Family], count: int, rooms: list[str]) -> bool:
    """Compare random configurations; return whether all agree."""
    right = True
    for family in families:
        made, seed, largest, shares = 0, 0, dict.fromkeys(rooms, 0.0), dict.fromkeys(rooms, 0.0)
        while made < count and seed < 20 * count:
            seed += 1
            try:
                case = Case(_varied(family, seed), seed)
            except (ValueError, RuntimeError) as error:  # a configuration that is none
                if isinstance(error, SpecificationError):
                    right = False
                    print(f"{family.name} {seed}: refused: {error}", flush=True)
                continue
            made += 1
            allowed = case.budget()
            for room in rooms:
                largest[room] = max(largest[room], case.relative(case.errors(room, "float64")))
                shares[room] = max(shares[room], float((case.errors(room, "float32") / allowed).max()))
        found = "  ".join(f"{room} {largest[room]:.0e} {shares[room]:.2f}" for room in rooms)
        bad = made < count or max(largest.values()) > max(TOLERANCE, family.known) or max(shares.values()) > 1
        right = right and not bad
        print(f"{'WRONG ' if bad else ''}{family.name}: {made} configurations  {found}", flush=True)
    return right


def _varied(family: Family, seed: int) -> Family:
    """Return a random configuration: every varied key, and sizes."""
    generator = np.random.default_rng(seed)
    chosen = family.varying(seed)
    sizes = {name: int(generator.choice(SIZES[name])) for name in SIZES if name in chosen.options}
    return replace(chosen, options={**chosen.options, **sizes})


def keys(families: list[Family], count: int) -> bool:
    """Change the attributes of the families' configurations; return whether nothing was computed wrongly."""
    total: Counter[str] = Counter()
    for family in families:
        counts: Counter[str] = Counter()
        values = changeable(family)
        singly = [{name: other} for name, value in values.items() for other in alternatives(value)]
        for changes in [*singly, *(_together(values, seed) for seed in range(count))]:
            verdict, text = verdict_of(replace(family, options={**family.options, **changes}))
            counts[verdict] += 1
            if verdict == "WRONG":
                print(f"WRONG {family.name}: {changes!r:.500}: {text}", flush=True)
        print(f"{family.name}: {dict(counts)}", flush=True)
        total += counts
    print(f"in all: {dict(total)}", flush=True)
    return not total["WRONG"]


def verdict_of(family: Family) -> tuple[str, str]:
    """Return what came out of a configuration: `agrees`, `refused` by us, `no model` of theirs, or `WRONG`."""
    try:
        case = Case(family, seed=3)
    except SpecificationError as error:
        return "refused", str(error)
    except Exception as error:  # noqa: BLE001  # theirs: a configuration that is none
        return "no model", str(error)
    try:
        relative = case.relative(case.errors("numpy", "float64"))
    except SpecificationError as error:
        return "refused", str(error)
    except Exception as error:  # noqa: BLE001  # ours
        return "WRONG", f"{type(error).__name__}: {error}"
    if not np.isfinite(case.expected).all():
        return "no model", "not finite"
    return ("agrees" if relative <= max(TOLERANCE, family.known) else "WRONG"), f"{relative:.1e}"


def _together(values: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return several attributes with other values."""
    generator = np.random.default_rng(seed)
    found = {}
    for name in generator.permutation([*values])[: generator.integers(2, 7)]:
        others = [*alternatives(values[name])]
        found[str(name)] = others[generator.integers(len(others))]
    return found


def changeable(family: Family) -> dict[str, Any]:
    """Return the attributes of a family's configuration that may have another value here."""
    config_class = peer_class(family).config_class
    left = NOT_CHANGED | {name for model_type, name in TABLES_THAT_END if model_type == config_class.model_type}
    return {name: value for name, value in attributes(config_of(family)).items() if name not in left}


def attributes(config: Any) -> dict[str, Any]:
    """Return everything that may be in a `config.json` of this class, older names included, with its value."""
    found = dict(config.to_dict())
    older = {name: getattr(config, name, None) for name in getattr(type(config), "attribute_map", {})}
    annotated = {name for each in type(config).__mro__ for name in getattr(each, "__annotations__", {})}
    plain = {name: getattr(config, name, None) for name in annotated if not name.startswith("__")}
    kinds = (bool, int, float, str, list, dict, type(None))
    return {name: value for name, value in {**plain, **older, **found}.items() if isinstance(value, kinds)}


def alternatives(value: Any) -> Iterator[Any]:
    """Return other values of an attribute."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, 2 * value, 1, 3, 4)
    elif isinstance(value, float):
        yield from (value * 1.7 + 0.3, 0.0, 2.0)
    elif isinstance(value, str):
        yield from WORDS
    elif isinstance(value, list):
        yield from ([*reversed(value)], value[:1] * len(value), value[-1:] * len(value))
    elif isinstance(value, Mapping):
        yield from _changed(value)
    else:
        yield from (True, False, 1, 3, 4, 0.5, "gelu", *ROPES[:3])


def _changed(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {}
    for name, each in value.items():
        yield {key: other for key, other in value.items() if key != name}
        yield from ({**value, name: other} for other in alternatives(each))
    if "rope_type" in value:
        yield from ({**value, **rope} for rope in ROPES)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("configurations", "keys"))
    parser.add_argument("families", nargs="*", help="names of test models; default: at least one of every family")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--rooms", default="numpy,torch,keras")
    options = parser.parse_intermixed_args(arguments)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    named = [family for family in FAMILIES if family.name in options.families]
    families = named or (one_of_each() if options.what == "configurations" else list(FAMILIES))
    if options.what == "keys":
        return 0 if keys(families, options.count) else 1
    return 0 if configurations(families, options.count, options.rooms.split(",")) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
