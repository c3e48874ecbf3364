"""A process between the judge and a subject: it ends everything that the subject has started, and itself.

On Linux it becomes the parent of processes whose own parent has ended, so that none escapes by leaving the subject's
session; elsewhere the signal to the subject's process group must do. It also ends when the judge does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

_SET_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def supervise(run: Callable[[], object], descriptors: Sequence[int]) -> NoReturn:
    """Run a function in a child with a session of its own, wait for its end, and end as it did.

    Arguments:
        run: what the child does.
        descriptors: what only the child needs.
    """
    _control(_SET_CHILD_SUBREAPER, 1)
    _control(_SET_DEATH_SIGNAL, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the judge decides
    pid = os.fork()
    if pid == 0:
        _run(run)

    def end(*_: object) -> None:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    for descriptor in (*descriptors, 0, 1, 2):
        os.close(descriptor)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    end()
    while left := _children():
        for child in left:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
    if status < 0 and -status != signal.SIGTERM:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)


def _run(run: Callable[[], object]) -> NoReturn:
    try:
        os.setsid()
        _control(_SET_DEATH_SIGNAL, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
        sys.stdout.flush()
        os._exit(0)
    except BaseException as failure:  # noqa: BLE001 - nothing of a copied process may run on
        os.write(2, f"{type(failure).__name__}: {failure}\n".encode())
    finally:
        os._exit(1)


def end_strays(descriptor: int) -> None:
    """End the copies of a subject that outlived its supervisor, because the subject has ended that one.

    Arguments:
        descriptor: of the memory that is shared with the subject: every copy has it too.
    """
    inode = str(os.fstat(descriptor).st_ino)
    while strays := _copies(inode):  # again, for one may have made another before it ended
        for pid in strays:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _copies(inode: str) -> set[int]:
    """Return the processes that have a file in memory, but for this one and its children."""
    found, own = set(), str(os.getpid())
    for path in Path("/proc").glob("[0-9]*") if sys.platform == "linux" else ():
        with contextlib.suppress(OSError):
            maps = (line.split() for line in (path / "maps").read_text().splitlines())
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if own not in (path.name, parent) and any(len(line) > 4 and line[4] == inode for line in maps):
                found.add(int(path.name))
    return found


def _control(option: int, number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, number, 0, 0, 0)


def _children() -> set[int]:
    """Return the processes whose parent is this one."""
    found, own = set(), str(os.getpid())
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()  # behind the name: state, parent, ...
            found |= {int(path.parent.name)} if fields[1] == own else set()
    return found
