"""`attention-ref vectors`: export the vectors to a folder, and verify an export."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_ref.commands.command import CONFORMS, DIFFERS, command, show, takes_json

if TYPE_CHECKING:
    from attention_ref.vectors.release.verification import Verification


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    actions = command(commands, "vectors", run).add_subparsers(metavar="ACTION", required=True)

    writing = _action(actions, "export", "write JSON, its schema, the clauses, a README and a manifest to a folder")
    writing.add_argument("--operation", metavar="OP", action="append", help="such as attention; repeatable")
    writing.add_argument("--profile", metavar="P", action="append", help="a group of cases, such as core; repeatable")
    writing.set_defaults(action=_export)
    _action(actions, "verify", "verify that the files of an export are unchanged").set_defaults(action=_verify)


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = command(actions, name, run, text)
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder of the export")
    takes_json(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Export or verify; return the exit code."""
    from attention_ref.vectors.release.export_files import ExportError

    try:
        return int(options.action(options))
    except ExportError as error:
        from attention_ref.conformance.errors import UsageError

        raise UsageError(str(error)) from error


def _export(options: argparse.Namespace) -> int:
    from attention_ref.vectors.release.export import export

    files = export(options.folder, options.operation, options.profile)
    size = sum((options.folder / path).stat().st_size for path in files)
    written = {"folder": str(options.folder), "files": len(files), "bytes": size}
    text = f"{len(files)} files, {size / 1e6:.1f} MB, in {options.folder}; README.md explains them"
    show(json.dumps(written) if options.json else text)
    return CONFORMS


def _verify(options: argparse.Namespace) -> int:
    from attention_ref.vectors.release.verification import verify

    found = verify(options.folder)
    show(json.dumps(_data(found), indent=1) if options.json else _text(found))
    return DIFFERS if found.problems else CONFORMS


def _data(found: Verification) -> dict[str, Any]:
    problems = [problem._asdict() for problem in found.problems]
    return {**found._asdict(), "verified": not problems, "problems": problems}


def _text(found: Verification) -> str:
    if not found.problems:
        files = f"{found.files} file{'s' * (found.files != 1)} of vectors"
        return f"unchanged: {files} with {found.cases} cases, specification {found.spec}"
    width = max(len(problem.kind) for problem in found.problems)
    lines = [f"{kind:{width}}  {path}: {text}" for kind, path, text in found.problems]
    return "\n".join([*lines, f"changed: {len(lines)} of its files"])
