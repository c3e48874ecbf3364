"""`python -m attention_ref` is the command `attention-ref`."""

from __future__ import annotations

if __name__ == "__main__":
    from attention_ref.cli import main

    raise SystemExit(main())
