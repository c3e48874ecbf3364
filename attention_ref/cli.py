"""The command `attention-ref`; its commands are in `attention_ref.commands`.

Exit codes: 0 success, and in `check` the subject conforms; 1 it does not; 2 usage error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from attention_ref import __version__
from attention_ref.commands import COMMANDS, FILES
from attention_ref.commands.command import INTERRUPTED, PROGRAM, USAGE

EXAMPLES = """\
examples:
  attention-ref check numpy
  attention-ref check keras --engine jax --dtype all
  attention-ref check my_module:attention --arrays torch --profile core --profile causal
  attention-ref check --exec "./attention --fast"
  attention-ref explain attention.causal
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser(next((word for word in words if not word.startswith("-")), "")).parse_args(words)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from attention_ref.conformance import UsageError

        if not isinstance(error, UsageError):
            raise
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return USAGE


def _parser(chosen: str) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the arguments of the chosen one."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="An executable specification of attention: check an implementation, read the clauses and cases.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        if name == chosen:
            import_module(f"attention_ref.commands.{FILES.get(name, name)}").add(commands)
        else:
            commands.add_parser(name, help=text)
    return parser
