"""Errata: what was wrong in vectors that have been released, and the rule that none is corrected without one.

`errata.toml` lists the corrections. `released/<version>.json` holds a digest of every case as it was released with a
version of the specification; `python -m attention_ref.vectors.release.errata` writes it, once, when that version is
released.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from attention_ref import vectors
from attention_ref.spec import VERSION

_HERE = resources.files("attention_ref.vectors.release")


@dataclass(frozen=True)
class Erratum:
    """One correction.

    Arguments:
        id: the version of the specification and a number.
        date: when it was made, as `2027-01-31`.
        cases: the ids of the cases that it changed or took away.
        was: what was wrong.
        now: what the cases say instead, and what that changes for who was checked with them.
    """

    id: str
    date: str
    cases: tuple[str, ...]
    was: str
    now: str


def errata() -> tuple[Erratum, ...]:
    """Return every correction of a released vector, the oldest first."""
    tables = tomllib.loads(_HERE.joinpath("errata.toml").read_text(encoding="utf-8")).get("erratum", [])
    return tuple(Erratum(**{**table, "cases": tuple(table["cases"])}) for table in tables)


def digest(case: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a case, whatever the layout of its file."""
    text = json.dumps(case, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digests() -> dict[str, str]:
    """Return the digest of every case by its id."""
    files = [vectors.load(name, profile) for name in vectors.operations() for profile in vectors.profiles(name)]
    return {case["id"]: digest(case) for file in files for case in file["cases"]}


def released(version: str = VERSION) -> dict[str, str]:
    """Return the digests of the cases as they were released with a version; none when it is not released."""
    path = _HERE.joinpath("released", f"{version}.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def unexplained(before: Mapping[str, str], now: Mapping[str, str], corrections: Iterable[Erratum]) -> list[str]:
    """Name the released cases that changed or went away without an erratum that names them. New cases are welcome."""
    explained = {case for erratum in corrections for case in erratum.cases}
    return [case for case, value in before.items() if now.get(case) != value and case not in explained]


def main() -> None:
    """Write the digests of a release."""
    path = Path(__file__).parent / "released" / f"{VERSION}.json"
    if path.exists():
        raise SystemExit(f"{path.name} is there: {VERSION} is released, and what changes now needs an erratum")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
