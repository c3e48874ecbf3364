"""Stand-ins for the functions of xformers 0.0.30."""

from __future__ import annotations

from typing import Any

from tests.stand_ins.reference import one, require_defaults


class LowerTriangularFromBottomRightMask:
    """Causality at the bottom right."""


class BlockDiagonalMask:
    """Sequences one after the other."""

    def __init__(self, q_seqlen: list[int], kv_seqlen: list[int], causal: bool = False) -> None:
        self.q_seqlen, self.kv_seqlen, self.causal = q_seqlen, kv_seqlen, causal

    @classmethod
    def from_seqlens(cls, q_seqlen: Any, kv_seqlen: Any = None, *, device: Any = None) -> BlockDiagonalMask:
        del device
        return cls(list(q_seqlen), list(q_seqlen if kv_seqlen is None else kv_seqlen))

    def make_causal_from_bottomright(self) -> BlockDiagonalMask:
        return BlockDiagonalMask(self.q_seqlen, self.kv_seqlen, causal=True)


def memory_efficient_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_bias: Any = None,
    p: float = 0.0,
    scale: float | None = None,
    *,
    op: Any = None,
    output_dtype: Any = None,
) -> Any:
    import torch

    require_defaults(p=p, op=op, output_dtype=output_dtype)
    if query.ndim == 5:
        assert query.shape[2:4] == key.shape[2:4]
        shape = query.shape
        key, value = (each[:, :, :, 0] for each in (key, value))
        return memory_efficient_attention(query.flatten(2, 3), key, value, attn_bias, scale=scale).reshape(shape)
    if isinstance(attn_bias, torch.Tensor):
        tensors = (each.float().transpose(1, 2) for each in (query, key, value))
        output = torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=attn_bias.float(), scale=scale)
        return output.transpose(1, 2).to(query.dtype)
    if isinstance(attn_bias, BlockDiagonalMask):
        parts = ([*query[0].split(attn_bias.q_seqlen)], *([*e[0].split(attn_bias.kv_seqlen)] for e in (key, value)))
        rows = zip(*parts, strict=True)
        return torch.cat([one(*row, attn_bias.causal, (-1, -1), scale, 0.0) for row in rows])[None]
    causal = isinstance(attn_bias, LowerTriangularFromBottomRightMask)
    return torch.stack([one(*row, causal, (-1, -1), scale, 0.0) for row in zip(query, key, value, strict=True)])
