"""`attention-ref peers`: run every installed library and tabulate which clauses it conforms to."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from attention_ref import __version__, backends
from attention_ref.commands import named_subjects
from attention_ref.commands.command import CONFORMS, THREADS, check_writable, command, dtypes, save, show

if TYPE_CHECKING:
    from attention_ref.commands.children import Ending
    from attention_ref.conformance.reports.matrix import Column

_CACHE_EVERYTHING = ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES")


class Run(NamedTuple):
    """A subject to check, the backend of Keras for it, the reason why it cannot run, if any, and how it is called."""

    subject: str
    engine: str | None = None
    lacks: str = ""
    convention: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name in the matrix."""
        return f"{self.subject} on {self.engine}" if self.engine else self.subject

    @property
    def arguments(self) -> list[str]:
        """The arguments of `attention-ref check` that select it."""
        return [self.subject, *(["--engine", self.engine] if self.engine else []), *self.convention]


class Scope(NamedTuple):
    """The operation, profiles and dtypes that are checked of every subject."""

    operation: str
    profiles: tuple[str, ...]
    gradients: bool
    dtypes: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """The corresponding arguments of `attention-ref check`."""
        words = ["--operation", self.operation]
        words += [word for profile in self.profiles for word in ("--profile", profile)]
        words += [] if self.profiles or self.gradients else ["--no-gradients"]
        return words + [word for dtype in self.dtypes for word in ("--dtype", dtype)]

    @property
    def facts(self) -> dict[str, str]:
        """The corresponding facts in the header of the matrix."""
        every = "all" if self.gradients else "all but grad"
        return {"operation": self.operation, "profiles": ", ".join(self.profiles or [every])}


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "peers", run)
    put = parser.add_argument
    text = f"{named_subjects.SUBJECT}; default: all backends, and the peers that are quick to check"
    put("names", nargs="*", metavar="NAME", help=text)
    put("--html", metavar="FILE", help="write the matrix, clauses and cases as one HTML file")
    put("--markdown", metavar="FILE", help="write the matrix as Markdown")
    put("--json", metavar="FILE", help="write every report as JSON")
    put("--no-questions", action="store_true", help="leave out the questions of the command ask (the second table)")
    put("--operation", metavar="OP", default="attention", help="the operation to check; default: attention")
    put("--arrays", metavar="KIND", help="array type of every module:callable, such as torch; default: numpy")
    text = "calling convention of every module:callable, such as torch.sdpa, or a TOML file"
    put("--dialect", metavar="D", help=text)
    text = "a group of cases, such as core or grad; repeatable; default: all but grad"
    put("--profile", metavar="P", action="append", help=text)
    put("--gradients", action="store_true", help="check gradients too (several times slower)")
    text = "judge their outputs and gradients at real sizes instead, with --dtype; the files contain that table"
    put("--real-sizes", action="store_true", help=text)
    put("--dtype", metavar="D", action="append", help="as in check; default: float64 and float32")
    put("--jobs", metavar="N", type=_positive(int), default=2, help="number of processes at a time; default: 2")
    put("--time-limit", metavar="S", type=_positive(float), default=600.0, help="seconds per peer; default: 600")
    put("--date", metavar="TEXT", help="a date to write into the files; without it the files are reproducible")


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def positive(text: str) -> float:
        number = kind(text)
        if not number > 0:
            raise ValueError
        return number

    return positive


def run(options: argparse.Namespace) -> int:
    """Check the peers and write the requested files."""
    from attention_ref.conformance.reports import text
    from attention_ref.conformance.run import select

    select(
        [options.operation], options.profile, dtypes(options.dtype)
    )  # rejects unknown names before any process starts
    check_writable(options.html, options.markdown, options.json)
    scope = Scope(options.operation, tuple(options.profile or ()), options.gradients, tuple(options.dtype or ()))
    if options.real_sizes:
        return _at_real_sizes(options)
    asks = options.operation == "attention" and not options.no_questions
    plan = _plan(options.names, options.operation, _convention(options))
    columns = _columns(plan, scope, asks=asks, jobs=options.jobs, time_limit=options.time_limit)
    facts = {"attention_ref": __version__, "Python": platform.python_version(), **scope.facts}
    facts |= {"date": options.date} if options.date else {}
    _write(columns, facts, html_path=options.html, markdown_path=options.markdown, json_path=options.json)
    show(text.matrix(columns))
    return CONFORMS


def _at_real_sizes(options: argparse.Namespace) -> int:
    """Judge the peers at real sizes and write the requested files."""
    from attention_ref.commands import real_sizes
    from attention_ref.conformance import UsageError

    if options.html or options.operation != "attention" or options.profile:
        raise UsageError("--real-sizes judges attention, and writes --markdown and --json only")
    chosen = options.dtype or ["float32"]
    words = [word for dtype in chosen for word in ("--dtype", dtype)]
    convention = _convention(options)
    plan = _plan(options.names, convention=convention)
    ready = [run for run in plan if not run.lacks]

    def report(row: real_sizes.Row) -> None:
        print(f"{row.name}: {row.trouble or 'judged'}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as cache:
        subjects = [
            (run.name, [*run.arguments, *_gradients(run, options.arrays)], _environment(run, options.jobs, cache))
            for run in ready
        ]
        rows = real_sizes.judged(subjects, words, options.jobs, options.time_limit, report)
    rows += [real_sizes.Row(run.name, trouble=run.lacks) for run in plan if run.lacks]
    facts = {"attention_ref": __version__, "Python": platform.python_version()}
    facts |= {"date": options.date} if options.date else {}
    if options.markdown:
        made_by = " ".join(["attention-ref peers", *options.names, "--real-sizes", *words])
        made_by += f" --time-limit {options.time_limit:g}"
        save(options.markdown, real_sizes.markdown(rows, chosen, made_by, facts))
    if options.json:
        save(options.json, json.dumps(real_sizes.data(rows, facts), indent=1, allow_nan=False))
    show(real_sizes.text(rows, chosen))
    return CONFORMS


def _gradients(run: Run, arrays: str | None) -> list[str]:
    """Return the option that asks for gradients, but for functions of NumPy's arrays, which have none."""
    is_function = named_subjects.is_function(run.subject)
    kind = (arrays or "numpy") if is_function else named_subjects.kind(run.subject)
    return ["--gradients"] * (kind != "numpy" or backends.room_and_path(run.subject) is not None)


def _convention(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the arguments of `attention-ref check` that say how the functions of the user are called."""
    from attention_ref.conformance.dialects import resolve
    from attention_ref.conformance.errors import UsageError

    given = {"--arrays": options.arrays, "--dialect": options.dialect}
    words = tuple(word for name, value in given.items() if value for word in (name, value))
    if words and not any(":" in name for name in options.names):
        raise UsageError(f"{words[0]} says how module:callable is called, and none is among the names")
    if options.dialect:
        resolve(options.dialect)  # rejects one that cannot be read before any process starts
    return words


def _plan(names: Sequence[str], operation: str = "attention", convention: tuple[str, ...] = ()) -> list[Run]:
    """Return the runs; a subject on Keras runs once on each installed backend of Keras."""
    from attention_ref.conformance.errors import reject

    available = named_subjects.names()
    for name in names:
        if ":" not in name and name not in available:
            reject("peer", name, [*available, "module:callable"])
    wanted = names or [name for name in available if not named_subjects.is_slow(name)]
    runs = (run for name in dict.fromkeys(wanted) for run in _runs(name, operation))
    return [run._replace(convention=convention) if ":" in run.subject else run for run in runs]


def _runs(name: str, operation: str) -> list[Run]:
    offered = named_subjects.operations(name)
    if offered is not None and operation not in offered:
        return [Run(name, lacks=f"does not have {operation}; see --operation {' or '.join(offered)}")]
    is_on_keras = named_subjects.kind(name) == "keras"
    lacks = () if named_subjects.is_function(name) else named_subjects.missing(name)
    needed = [package for package in lacks if not (is_on_keras and package in backends.ENGINES)]
    engines = [engine for engine in backends.ENGINES if find_spec(engine)] if is_on_keras else []
    if is_on_keras and not engines:
        needed.append(" or ".join(backends.ENGINES))
    if needed:
        return [Run(name, lacks=f"not installed: needs {' and '.join(needed)}")]
    return [Run(name, engine) for engine in engines] or [Run(name)]


def _columns(plan: Sequence[Run], scope: Scope, *, asks: bool, jobs: int, time_limit: float) -> list[Column]:
    from attention_ref.commands.children import check_all

    ready = sorted((run for run in plan if not run.lacks), key=_starts_late)
    done: list[int] = []

    def report(index: int, ending: Ending, seconds: float) -> None:
        done.append(index)
        end = ending.trouble or ("conforms" if ending.report and ending.report["passed"] else "does not conform")
        text = f"{len(done):{len(str(len(ready)))}}/{len(ready)}  {ready[index].name}: {end} ({seconds:.0f} s)"
        print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as cache:
        checks = [([*run.arguments, *scope.arguments], _environment(run, jobs, cache)) for run in ready]
        endings = check_all(checks, asks=asks, jobs=jobs, time_limit=time_limit, report=report)
    by_run = dict(zip(ready, endings, strict=True))
    return [_column(run, by_run.get(run)) for run in plan]


def _starts_late(run: Run) -> bool:
    """Return False for JAX and flex_attention, which start first: they retrace every shape and take longest."""
    return "jax" not in (run.engine, named_subjects.kind(run.subject)) and run.subject != "torch.flex"


def _environment(run: Run, jobs: int, cache: str) -> dict[str, str]:
    """Return the variables to add: threads, float64 for JAX and its shared compilation cache, unless already set."""
    wanted = dict.fromkeys(THREADS, str(max(1, (os.cpu_count() or 1) // jobs)))
    wanted |= {"JAX_ENABLE_X64": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    wanted |= {"JAX_COMPILATION_CACHE_DIR": cache, **dict.fromkeys(_CACHE_EVERYTHING, "-1")}
    engine = {"KERAS_BACKEND": run.engine} if run.engine else {}
    return {name: value for name, value in wanted.items() if name not in os.environ} | engine


def _column(run: Run, ending: Ending | None) -> Column:
    from attention_ref.conformance import Report
    from attention_ref.conformance.reports.matrix import Column

    report = Report.from_dict(ending.report) if ending and ending.report else None
    trouble, lines, answers = (ending.trouble, ending.lines, ending.answers) if ending else (run.lacks, (), {})
    return Column(run.name, report, named_subjects.names().get(run.subject, ""), trouble, lines, answers)


def _write(
    columns: Sequence[Column],
    facts: Mapping[str, str],
    *,
    html_path: str | None,
    markdown_path: str | None,
    json_path: str | None,
) -> None:
    from attention_ref.conformance.reports import html, markdown, matrix

    if json_path:
        save(json_path, json.dumps(matrix.data(columns, facts), indent=1, allow_nan=False))
    if markdown_path:
        save(markdown_path, markdown.write_matrix(columns, facts))
    if html_path:
        save(html_path, html.write_matrix(columns, facts))
