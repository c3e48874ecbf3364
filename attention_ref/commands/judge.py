"""`attention-ref judge`: judge an attention kernel at the sizes that people run."""

from __future__ import annotations

import argparse
from typing import Any

from attention_ref import backends
from attention_ref.backends import DTYPES, room_and_path
from attention_ref.commands import named_subjects, paths
from attention_ref.commands.command import CONFORMS, DIFFERS, check_writable, command, save, show
from attention_ref.commands.terminal import counter

_SUBJECT = (
    "numpy, torch, keras (torch:fused: that path of it alone), a peer, module:callable or path/to/file.py:callable"
)


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "judge", run)
    add = parser.add_argument
    add("subject", metavar="SUBJECT", nargs="?", help=_SUBJECT)
    add("--exec", metavar="COMMAND", help="instead of SUBJECT: a program that answers requests, as in check")
    add("--dtype", metavar="D", action="append", help=f"{', '.join(DTYPES)} or all; default: float32")
    text = "backend of Keras; default: KERAS_BACKEND or the configuration of Keras"
    add("--engine", choices=backends.ENGINES, help=text)
    text = "array type of SUBJECT, such as torch; default: numpy; of a program: json or safetensors"
    add("--arrays", metavar="KIND", help=text)
    text = "calling convention of SUBJECT, such as torch.sdpa (see attention-ref list dialects), or a TOML file"
    add("--dialect", metavar="D", help=text)
    add("--gradients", action="store_true", help="judge its gradients too, by automatic differentiation")
    text = "judge the gradients that a function returns: gradient(query, key, value, *, cotangent, **options)"
    add("--gradient", metavar="NAME", help=text)
    add("--device", metavar="D", help="where arrays of torch or jax are made, such as cuda")
    add(
        "--seed",
        metavar="N",
        type=int,
        help="seed of the calls and their numbers; default: a fresh one, which is printed",
    )
    add("--case", metavar="ID", help="run one call only, by its id in a judgement")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", action="store_true", help="lengths up to 449 only")
    sizes.add_argument("--large", action="store_true", help="lengths up to 8192 too")
    add(
        "--budget-seconds",
        metavar="S",
        type=float,
        help="stop after so many seconds; the calls that are left are listed as not asked",
    )
    add("--jobs", metavar="N", type=int, default=1, help="number of processes at a time; default: 1")
    add(
        "--timeout", metavar="S", type=float, default=60.0, help="time limit of a call in seconds; 0: none; default: 60"
    )
    add("--json", metavar="FILE", help="write the judgement as JSON; - is stdout, without the text")


def run(options: argparse.Namespace) -> int:
    """Judge a subject and write the judgement."""
    from attention_ref.conformance import UsageError, judge
    from attention_ref.conformance.dialects import resolve

    for name in ("timeout", "budget_seconds"):
        if (seconds := getattr(options, name)) is not None and not 0 <= seconds < float("inf"):
            raise UsageError(f"--{name.replace('_', '-')} must be a number of seconds, not {seconds:g}")
    check_writable(options.json if options.json != "-" else None)
    subject, arrays, gradient = options.subject, options.arrays, options.gradient
    if chosen := room_and_path(subject or ""):
        arrays, path = chosen
        subject = f"attention_ref.{arrays}:attention" if path == "auto" else f"{paths.__name__}:{arrays}_{path}"
        if options.gradients and arrays == "numpy":
            gradient = gradient or "attention_ref.numpy.gradients:attention_gradients"
    if subject is not None:
        dialect = resolve(options.dialect) if options.dialect else None
        named_subjects.choose_engine(subject, arrays or (dialect.arrays if dialect else "numpy"), options.engine)
    judgement = judge(
        subject,
        program=options.exec,
        dtypes=DTYPES if "all" in (options.dtype or ()) else tuple(dict.fromkeys(options.dtype or ("float32",))),
        arrays=arrays,
        dialect=options.dialect,
        gradients=options.gradients,
        gradient=gradient,
        device=options.device,
        seed=options.seed,
        small=options.small,
        large=options.large,
        case=options.case,
        budget_seconds=options.budget_seconds,
        jobs=options.jobs,
        timeout=options.timeout or None,
        progress=counter(lambda outcome: outcome.scenario.id),
    )
    if options.json:
        text = judgement.to_json()
        if options.json == "-":
            show(text)
            return CONFORMS if judgement.passed else DIFFERS
        save(options.json, text)
    show(str(judgement))
    return CONFORMS if judgement.passed else DIFFERS
