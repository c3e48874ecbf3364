"""Classify an exception of a subject: the call is unsupported, or it failed."""

from __future__ import annotations

import dis
import traceback
from pathlib import Path
from types import TracebackType

from attention_ref.conformance.errors import SubjectError, Unsupported

_LONGEST = 300
_LIBRARIES = ("numpy",)
"""Packages whose ValueError says that shapes do not fit each other: a mistake of the caller, which is the subject."""


def fault(error: BaseException) -> Exception:
    """Return `Unsupported` for a refusal and `SubjectError` for anything else.

    A refusal is NotImplementedError, or a ValueError that a `raise` statement raises: a kernel says so that it does not
    take a head size or an option. A ValueError that NumPy raises for arrays that do not fit is a mistake.
    """
    text = " ".join(str(error).split())[:_LONGEST]
    if isinstance(error, (NotImplementedError, Unsupported)):
        return Unsupported(text or "it raises NotImplementedError")
    if isinstance(error, ValueError) and _is_raised_on_purpose(error.__traceback__):
        return Unsupported(text or "it raises ValueError")
    if isinstance(error, SubjectError):
        return error
    return SubjectError(f"it raises {type(error).__name__}: {text}", _where(error))


def _is_raised_on_purpose(frame: TracebackType | None) -> bool:
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return False
    module = str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    operation = frame.tb_frame.f_code.co_code[frame.tb_lasti]
    return module not in _LIBRARIES and dis.opname[operation] == "RAISE_VARARGS"


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the worker's
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}: {last.line}"
