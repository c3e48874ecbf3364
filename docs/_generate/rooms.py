"""The same file of every room, side by side."""

from __future__ import annotations

from _generate.pages import DOCS
from _generate.text import fence

ROOMS = {"numpy": "NumPy", "torch": "PyTorch", "keras": "Keras", "spec": "Spec"}


def tabs(name: str) -> str:
    """Show a file as it is in every room that has it, in tabs."""
    files = {room: DOCS.parent / "attention_ref" / room / f"{name}.py" for room in ROOMS}
    items = [
        fence(f"tab-item {ROOMS[room]}", _listing(f"/../attention_ref/{room}/{name}.py"), [f":sync: {room}"])
        for room, path in files.items()
        if path.exists()
    ]
    return fence("tab-set", "\n".join(items), colons=4)


def _listing(path: str) -> str:
    return "\n".join([f"```{{literalinclude}} {path}", ":language: python", "```"])
