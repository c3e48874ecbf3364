"""What judges a subject, or one call of it, again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from attention_ref.conformance.judge.situations import Size
from attention_ref.conformance.judge.source import Source
from attention_ref.conformance.signatures import name_of

Command = Callable[[str], str]
"""Returns what judges the call with an id, or with an empty text all of them."""


def command(source: Source, seed: int, dtypes: Sequence[str], size: Size) -> Command:
    """Return a command for what has a name, and Python for a function."""
    chosen = () if tuple(dtypes) == ("float32",) else tuple(dtypes)
    if source.is_named:
        return _shell(source, seed, chosen, size)
    return _python(source, seed, chosen, size)


def _shell(source: Source, seed: int, dtypes: Sequence[str], size: Size) -> Command:
    words = ["attention-ref judge", *(["--exec"] if source.is_program else []), shlex.quote(str(source.subject))]
    words += [f"--dtype {dtype}" for dtype in dtypes]
    named = {"arrays": source.arrays, "dialect": source.dialect, "gradient": source.gradient, "device": source.device}
    words += [f"--{name} {shlex.quote(str(value))}" for name, value in named.items() if value]
    words += ["--gradients"] if source.gradients and not source.gradient else []
    words += [f"--{size}"] if size != "full" else []
    shown = " ".join([*words, f"--seed {seed}"])
    return lambda case: shown + (f" --case {case}" if case else "")


def _python(source: Source, seed: int, dtypes: Sequence[str], size: Size) -> Command:
    given: dict[str, Any] = {
        "arrays": source.arrays,
        "dialect": source.dialect,
        "dtypes": dtypes,
        "device": source.device,
    }
    words = [f"{name}={value!r}" for name, value in given.items() if value]
    if source.gradient is not None:
        words.append(f"gradient={_shown(source.gradient)}")
    words += ["gradients=True"] if source.gradients and not source.gradient else []
    words += [f"{size}=True"] if size != "full" else []
    shown = ", ".join([_shown(source.subject), *words, f"seed={seed}"])
    return lambda case: f"conformance.judge({shown}{f', case={case!r}' if case else ''})"


def _shown(function: Callable[..., Any] | str) -> str:
    return repr(function) if isinstance(function, str) else name_of(function)
