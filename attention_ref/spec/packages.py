"""The packages that a part of the library needs, and the extra that installs them."""

from __future__ import annotations

from importlib.util import find_spec


def require(part: str, *packages: str, extra: str) -> None:
    """Check that packages are installed, before anything imports them.

    Arguments:
        part: what needs them, such as `attention_ref.torch`.
        packages: the names under which they are imported.
        extra: the extra of this library that installs them.

    Raises:
        ModuleNotFoundError: for packages that are not installed; the message has the command that installs them.
    """
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        raise ModuleNotFoundError(f"{part} needs {absence(absent, extra)}", name=absent[0])


def absence(packages: list[str] | tuple[str, ...], extra: str) -> str:
    """Return in words which packages are not installed, and how to install them.

    Example:
        >>> print(absence(["torch"], "torch"))
        torch, which is not installed: python -m pip install "attention-ref[torch]"
    """
    return f'{" and ".join(packages)}, which is not installed: python -m pip install "attention-ref[{extra}]"'
