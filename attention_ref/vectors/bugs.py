"""The kinds of bugs that cases catch, stored in `bugs.toml`: the closed list of the values of `bug`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType


@cache
def bugs() -> Mapping[str, str]:
    """Return the description of every kind of bug by its name, such as `mask.inverted`.

    Example:
        >>> bugs()["mask.inverted"]
        'True in a mask hides.'
    """
    text = Path(__file__).with_name("bugs.toml").read_text(encoding="utf-8")
    return MappingProxyType(tomllib.loads(text))
