"""The command `attention-ref`.

Exit codes: 0 the subject conforms (and for every other command: done), 1 it does not, 2 the command makes no sense.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attention_ref import __version__, backends, subjects
from attention_ref.commands import laws

if TYPE_CHECKING:
    from attention_ref.conformance import Report, Result, Subject

PROGRAM = "attention-ref"
LISTS = ("subjects", "profiles", "clauses", "cases")
DTYPES = ("float64", "float32", "float16", "bfloat16")
ARRAYS = ("numpy", "torch", "tensorflow", "jax", "keras")
CONFORMS, DIFFERS, USAGE, INTERRUPTED = 0, 1, 2, 130

EXAMPLES = """\
examples:
  attention-ref check numpy
  attention-ref check keras --engine jax --dtype all
  attention-ref check my_module:attention --arrays torch --profile core --profile causal
  attention-ref explain attention.causal
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CONFORMS
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from attention_ref.conformance import UsageError

        if not isinstance(error, UsageError):
            raise
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="An executable specification of attention: check an implementation, read the clauses and cases.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_check(_command(commands, "check", check, "check an implementation against the specification"))

    listing = _command(commands, "list", list_, "list what can be checked, and the profiles, clauses and cases")
    listing.add_argument("what", nargs="?", choices=LISTS, metavar="WHAT", help=f"{', '.join(LISTS)}; all but cases")
    explaining = _command(commands, "explain", explain, "explain a clause or a case")
    explaining.add_argument("id", metavar="ID", help="such as attention.causal, or the id of a case")
    laws.add(commands)
    _command(commands, "doctor", doctor, "show what is installed here and what can run")
    return parser


def _command(commands: Any, name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.set_defaults(run=run)
    return parser


def _add_check(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("subject", metavar="SUBJECT", help="numpy, torch, keras, a peer (see list subjects), or module:callable")
    add("--operation", metavar="OP", help="such as attention, layer_norm or Block; default: all that it has")
    add("--profile", metavar="P", action="append", help="a group of cases, such as core; may be given again")
    dtypes = ", ".join(DTYPES)
    add("--dtype", metavar="D", action="append", help=f"{dtypes} or all; default: float64 and float32")
    add("--case", metavar="GLOB", default="*", help="only cases whose id matches, such as 'attention/causal/*'")
    add("--seed", metavar="N", type=int, default=0, help="give the cases other numbers; needs mpmath; default: 0")
    add("--engine", choices=backends.ENGINES, help="what Keras runs on; default: KERAS_BACKEND, or as configured")
    add("--arrays", choices=ARRAYS, help="what module:callable takes and returns; default: numpy")


def check(options: argparse.Namespace) -> int:
    """Check a subject and write the report."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    with _stdout_for_reports() as write:
        report = _report(options)
        if options.json:
            write(json.dumps(report.to_dict(), indent=1, allow_nan=False))
        else:
            from attention_ref.conformance import text

            write(text.write(report, colour=colour))
    return CONFORMS if report.passed else DIFFERS


def _report(options: argparse.Namespace) -> Report:
    from attention_ref.conformance import UsageError, check_subject

    is_own = ":" in options.subject
    if options.arrays and not is_own:
        raise UsageError(f"--arrays is for module:callable; {options.subject} has its own kind")
    subjects.choose_engine(options.subject, options.arrays or "numpy", options.engine)
    operation = options.operation or "attention"
    subject = subjects.subject(options.subject, options.arrays or "numpy", operation)
    dtypes = options.dtype or ["float64", "float32"]
    return check_subject(
        subject,
        operations=[options.operation] if options.operation else None,
        profiles=options.profile,
        dtypes=DTYPES if "all" in dtypes else tuple(dict.fromkeys(dtypes)),
        cases=options.case,
        seed=options.seed,
        progress=_progress() if sys.stderr.isatty() else None,
        reproduce=_reproduce(subject, options),
    )


def _reproduce(subject: Subject, options: argparse.Namespace) -> Callable[[str, str], str]:
    words = [f"{PROGRAM} check {shlex.quote(options.subject)}"]
    words += [f"--operation {options.operation}"] if options.operation and ":" in options.subject else []
    words += [f"--arrays {options.arrays}"] if options.arrays else []
    words += [f"--engine {backends.engine()}"] if _chooses_engine(subject) else []
    ends = [f"--seed {options.seed}"] if options.seed else []
    return lambda case, dtype: " ".join([*words, f"--case {case}", f"--dtype {dtype}", *ends])


def _chooses_engine(subject: Subject) -> bool:
    return subject.arrays == "keras" and backends.engine() in backends.ENGINES


def _progress() -> Callable[[int, int, Result], None]:
    """Show a counter on stderr that is wiped at the end."""

    def show(done: int, total: int, result: Result) -> None:
        text = f"\r{done}/{total} {result.case.id}"
        print(f"{text[:79]:79}", end="\r" + " " * 79 + "\r" if done == total else "", file=sys.stderr, flush=True)

    return show


@contextlib.contextmanager
def _stdout_for_reports() -> Iterator[Callable[[str], object]]:
    """Send everything that is printed to stderr, by other languages too, and give a way to write to stdout."""
    sys.stdout.flush()
    kept = os.dup(1)
    texts: list[str] = []
    os.dup2(2, 1)
    try:
        yield texts.append
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
    _print("\n".join(texts))


def list_(options: argparse.Namespace) -> int:
    """List subjects, profiles, clauses or cases."""
    from attention_ref.conformance import catalogue

    tables = {
        "subjects": subjects.names,
        "profiles": catalogue.listed_profiles,
        "clauses": catalogue.listed_clauses,
        "cases": catalogue.listed_cases,
    }
    chosen = [options.what] if options.what else [name for name in LISTS if name != "cases"]
    found = {name: dict(tables[name]()) for name in chosen}
    if options.json:
        _print(json.dumps(found, indent=1))
    else:
        _print("\n\n".join(_rows(name, rows, with_title=not options.what) for name, rows in found.items()))
    return CONFORMS


def _rows(title: str, rows: dict[str, str], *, with_title: bool) -> str:
    width = max(map(len, rows), default=0)
    lines = [f"{name:{width}}  {text}".rstrip() for name, text in rows.items()]
    return "\n".join([title.capitalize(), *(f"  {line}" for line in lines)] if with_title else lines)


def explain(options: argparse.Namespace) -> int:
    """Explain a clause or a case."""
    from attention_ref.conformance import catalogue

    _print(json.dumps(catalogue.data(options.id), indent=1) if options.json else catalogue.explain(options.id))
    return CONFORMS


def doctor(options: argparse.Namespace) -> int:
    """Show what is installed and what can run."""
    from attention_ref.doctor import describe, examine

    found = examine()
    _print(json.dumps(found, indent=1) if options.json else describe(found))
    return CONFORMS


def _print(text: str) -> None:
    print(text, flush=True)
