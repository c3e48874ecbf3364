"""Attention of one sequence, which the stand-ins call, and what they share."""

from __future__ import annotations

from typing import Any

_NOT_CALLED = "the stand-in is not written for this argument"


def one(
    query: Any, key: Any, value: Any, causal: bool, window: tuple[int, int], scale: float | None, softcap: float
) -> Any:
    """Attention of one sequence, `(q,h,d)` and `(k,g,d)`, aligned at the bottom right and computed in float32."""
    import torch

    heads, queries, keys = query.shape[1], len(query), len(key)
    places = torch.arange(queries)[:, None] + keys - queries
    columns, (left, right) = torch.arange(keys), window
    visible = torch.ones(queries, keys, dtype=torch.bool)
    visible &= (columns <= places) if causal else visible
    visible &= (columns >= places - left) if left >= 0 else visible
    visible &= (columns <= places + right) if right >= 0 else visible
    q, k, v = (each.float().transpose(0, 1) for each in (query, key, value))
    k, v = (each.repeat_interleave(heads // len(each), 0) for each in (k, v))
    scores = q @ k.transpose(1, 2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = softcap * torch.tanh(scores / softcap) if softcap else scores
    weights = torch.softmax(scores.masked_fill(~visible, -torch.inf), -1).nan_to_num(0.0)
    return (weights @ v).transpose(0, 1).to(query.dtype)


def require_defaults(**given: Any) -> None:
    """Fail for an argument that is neither None, nor 0, nor False."""
    assert not [name for name, value in given.items() if value], _NOT_CALLED


def both(starts: Any) -> tuple[list[int], list[int]]:
    """Return where sequences begin and end."""
    return starts[:-1].tolist(), starts[1:].tolist()
