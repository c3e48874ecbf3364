"""`attention-ref convert`: write a checkpoint as one of another family, where that can express the same model."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from attention_ref.commands.command import CONFORMS, DIFFERS, check_folder, check_writable, command, show


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "convert", run)
    parser.add_argument("source", metavar="SRC", help="a folder with config.json, or a file that weights.save wrote")
    parser.add_argument("target", metavar="DST", help="the folder to write, or a .safetensors file")
    parser.add_argument(
        "--to", metavar="FAMILY", required=True, help="the model_type to write, or attention_ref for our own format"
    )
    parser.add_argument("--dtype", metavar="DTYPE", help="dtype of the written tensors; default: as stored")
    text = "largest size of a file, such as 5GB; default: one file"
    parser.add_argument("--shard-size", metavar="SIZE", type=_bytes, help=text)


def run(options: argparse.Namespace) -> int:
    """Convert; the exit code is 1 where the family cannot express the model."""
    from attention_ref import weights
    from attention_ref.spec.errors import SpecificationError

    source = Path(options.source)
    if options.to == "attention_ref":
        check_writable(options.target)
    else:
        check_folder(options.target)
    try:
        if source.is_dir():
            config, params = weights.read(source, options.dtype, progress=progress())
        else:
            config, params = _loaded(source, options.dtype)
        if options.to == "attention_ref":
            weights.save(options.target, config, params)
        else:
            keys, size = _tokens(source), options.shard_size
            weights.write(options.target, config, params, options.to, keys=keys, shard_bytes=size)
    except SpecificationError as error:
        show(str(error))
        return DIFFERS
    show(f"{options.target}: {options.to}, {len(params)} parameters")
    return CONFORMS


def _bytes(text: str) -> int:
    """Read a size such as 500MB or 5GB, in bytes."""
    found = re.fullmatch(r"(\d+)(KB|MB|GB|)", text.upper())
    if found is None or not int(found[1]):
        raise ValueError
    return int(found[1]) * {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}[found[2]]


def progress() -> Any:
    """Return a progress counter of tensors, or None if stderr is not a terminal."""
    from attention_ref.commands.terminal import counter

    count = counter(str)
    return None if count is None else lambda done, total: count(done, total, "tensors")


def _loaded(source: Path, dtype: str | None) -> Any:
    from attention_ref import weights
    from attention_ref.conformance import UsageError

    if not source.is_file():
        raise UsageError(f"{source} does not exist")
    config, params = weights.load(source)
    return config, {name: array if dtype is None else array.astype(dtype) for name, array in params.items()}


def _tokens(source: Path) -> dict[str, Any]:
    """Return the keys on special tokens, which our configurations do not have."""
    if not source.is_dir():
        return {}
    keys = json.loads((source / "config.json").read_text(encoding="utf-8"))
    return {name: value for name, value in keys.items() if name.endswith("_token_id")}
