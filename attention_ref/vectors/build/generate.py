"""Generate the vectors from the recipes: `python -m attention_ref.vectors.build.generate`.

With `--check` nothing is written, and the exit code is 1 if any file differs by a byte.
Needs mpmath.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attention_ref.spec import VERSION
from attention_ref.spec.operations import ATTENTIONS
from attention_ref.vectors import FORMAT_VERSION, array_forms
from attention_ref.vectors.build import (
    attention_clauses,
    attention_truth,
    config_clauses,
    json_text,
    layer_truth,
    recipe,
)
from attention_ref.vectors.build.recipe import Recipe

FOLDER = Path(__file__).parents[1] / f"v{FORMAT_VERSION}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m attention_ref.vectors.build.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the existing files and write nothing")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only the files whose operation/profile contains TEXT"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count(),
        metavar="N",
        help="number of processes; default: one per processor",
    )
    options = parser.parse_args(arguments)
    files = [name for name in recipe.names() if options.only in "/".join(name)]
    changed = [path for path, content in generate(files, options.processes).items() if _settle(path, content, options)]
    print(f"{len(changed)} of {len(files)} files {'differ' if options.check else 'changed'}", file=sys.stderr)
    return 1 if options.check and changed else 0


def generate(files: Sequence[tuple[str, str]], processes: int | None = None) -> dict[Path, str]:
    """Return the content of every file, given as `(operation, profile)`, by path."""
    recipes = [(name, case) for name in files for case in recipe.cases(*name)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        cases = pool.map(solved, [case for _, case in recipes], chunksize=1)
    documents: dict[Path, str] = {}
    for operation, profile in files:
        own = [case for (name, _), case in zip(recipes, cases, strict=True) if name == (operation, profile)]
        about = {"format_version": FORMAT_VERSION, "spec": VERSION, "operation": operation, "profile": profile}
        documents[FOLDER / operation / f"{profile}.json"] = json_text.write({**about, "cases": own})
    return documents


def solved(case: Recipe) -> dict[str, Any]:
    """Return a case with its expected results, as written to the file."""
    return _attended(case) if case.call.operation in ATTENTIONS else _solved(case)


def _solved(case: Recipe) -> dict[str, Any]:
    """Return a case of an operation other than attention, with the intermediates of a layer."""
    solution = layer_truth.solve(case)
    taps = {name: json_text.result(result) for name, result in solution.taps.items()}
    gradient = layer_truth.backward(case, solution.returned["output"].array) if case.gradient else None
    bounded = [*solution.returned.values(), *(gradient.expected.values() if gradient else ())]
    dtypes = attention_clauses.dtypes_of(case, [result.array for result in bounded])
    return {
        **_described(case, config_clauses.clauses_of(case), dtypes),
        "expected": {name: json_text.result(result) for name, result in solution.returned.items()},
        **({"taps": taps} if taps else {}),
        **({"gradient": _gradient(gradient)} if gradient else {}),
    }


def _attended(case: Recipe) -> dict[str, Any]:
    """Return a case of attention, with its gradients."""
    results = attention_truth.forward(case)
    arrays = {name: result.array for name, result in results.items()}
    is_finite = np.isfinite(arrays["output"]).all()
    gradient = attention_truth.backward(case, arrays["output"]) if case.gradient and is_finite else None
    returned = case.call.table.returned(case.call.options)
    bounded = [arrays[result.name] for result in returned if result.precision == "storage"]
    bounded += [result.array for result in gradient.expected.values()] if gradient else []
    clauses = attention_clauses.clauses_of(case, arrays)
    return {
        **_described(case, clauses, attention_clauses.dtypes_of(case, bounded)),
        "expected": {result.name: json_text.result(results[result.name]) for result in returned},
        **({"gradient": _gradient(gradient)} if gradient else {}),
    }


def _described(case: Recipe, clauses: Sequence[str], dtypes: Sequence[str]) -> dict[str, Any]:
    about = {"id": case.id, "clauses": clauses, "catches": case.catches, "bug": case.bug}
    about |= {"references": list(case.references), "dtypes": dtypes}
    return {**about, **case.call.to_json(parameter_kinds=False)}


def _gradient(gradient: attention_truth.Gradient) -> Mapping[str, Any]:
    return {
        "cotangents": {"output": array_forms.to_json(gradient.cotangent, with_kind=False)},
        "expected": {name: json_text.result(result) for name, result in gradient.expected.items()},
    }


def _settle(path: Path, content: str, options: argparse.Namespace) -> bool:
    """Return whether a file differs from its new content, and write it unless `--check` is given."""
    data = content.encode()
    if path.exists() and path.read_bytes() == data:
        return False
    print(path.relative_to(FOLDER), file=sys.stderr)
    if not options.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return True


if __name__ == "__main__":
    raise SystemExit(main())
