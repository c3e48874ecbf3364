"""`attention-ref inspect`: the architecture of a checkpoint and its unsupported keys, without reading the tensors."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from typing import Any

from attention_ref.commands.command import CONFORMS, DIFFERS, command, show, takes_json


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "inspect", run)
    parser.add_argument("path", metavar="PATH", help="a folder with config.json and safetensors files")
    takes_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print a description of a checkpoint; return 1 if `weights.load` would reject it."""
    from attention_ref.conformance import UsageError
    from attention_ref.spec.errors import SpecificationError
    from attention_ref.weights.examination import examine

    try:
        checkpoint = examine(options.path)
    except SpecificationError as error:
        raise UsageError(str(error)) from error
    found = data_of(checkpoint)
    show(json.dumps(found, indent=1) if options.json else describe(found))
    return DIFFERS if found["problems"] else CONFORMS


def data_of(checkpoint: Any) -> dict[str, Any]:
    """Return the data that the command prints."""
    from attention_ref.spec.parameters import parameters
    from attention_ref.spec.records import to_json

    config = checkpoint.config
    tree = parameters(config) if config is not None else {}
    return {
        "path": str(checkpoint.path),
        "family": checkpoint.layout.name,
        "architecture": checkpoint.architecture,
        "problems": checkpoint.problems,
        "parameters": sum(math.prod(parameter.shape) for parameter in tree.values()),
        "tensors": len(checkpoint.tensors),
        "dtypes": dict(Counter(tensor.dtype for tensor in checkpoint.tensors.values())),
        "unused": checkpoint.unused,
        "config": None if config is None else to_json(config),
        "read": {source.name: list(source.ours) for source in checkpoint.sources},
    }


def describe(found: dict[str, Any]) -> str:
    """Format the data as text, problems first."""
    problems = found["problems"]
    verdict = f"{len(problems)} PROBLEMS: it is not read" if problems else "everything is understood"
    dtypes = ", ".join(f"{count} {name}" for name, count in found["dtypes"].items())
    lines = [
        f"{found['path']}: {found['family']}, {found['architecture']}: {verdict}",
        *(f"  {problem}" for problem in problems),
        f"parameters  {found['parameters']:,}",
        f"tensors     {found['tensors']} ({dtypes})",
    ]
    config = found["config"] or {}
    for name in ("encoder_stack", "decoder_stack"):
        if name in config:
            blocks = config[name]["blocks"]
            lines.append(f"{name.partition('_')[0]:10}  {len(blocks)} blocks, the first {json.dumps(blocks[0])}")
    if "head" in config:
        lines.append(f"head        {json.dumps(config['head'])}")
    if found["unused"]:
        lines += ["not read", *(f"  {name}: {reason}" for name, reason in found["unused"].items())]
    return "\n".join(lines)
