"""`attention-ref doctor`: what is installed here and what can run."""

from __future__ import annotations

import argparse
import json
from typing import Any

from attention_ref.commands.command import CONFORMS, command, show, takes_json


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    takes_json(command(commands, "doctor", run, "show what is installed here and what can run"))


def run(options: argparse.Namespace) -> int:
    """Show what is installed and what can run."""
    from attention_ref.doctor import describe, examine

    found = examine()
    show(json.dumps(found, indent=1) if options.json else describe(found))
    return CONFORMS
