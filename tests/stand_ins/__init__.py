"""Stand-ins for libraries that need a GPU: their functions with their exact signatures, computed by PyTorch.

The signatures are those of flash-attn 2.7, xformers 0.0.30 and FlashInfer 0.2, with the arguments that nobody passes.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from tests.stand_ins import flash_attn, flashinfer, xformers

_MODULES: dict[str, tuple[Any, ...]] = {
    "flash_attn": (
        flash_attn.flash_attn_func,
        flash_attn.flash_attn_qkvpacked_func,
        flash_attn.flash_attn_varlen_func,
        flash_attn.flash_attn_varlen_qkvpacked_func,
        flash_attn.flash_attn_with_kvcache,
    ),
    "xformers": (),
    "xformers.ops": (xformers.memory_efficient_attention,),
    "xformers.ops.fmha": (),
    "xformers.ops.fmha.attn_bias": (xformers.LowerTriangularFromBottomRightMask, xformers.BlockDiagonalMask),
    "flashinfer": (
        flashinfer.single_prefill_with_kv_cache,
        flashinfer.single_decode_with_kv_cache,
        flashinfer.BatchDecodeWithPagedKVCacheWrapper,
        flashinfer.BatchPrefillWithPagedKVCacheWrapper,
    ),
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-ins be imported under the libraries' names."""
    for name, members in _MODULES.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        for member in members:
            setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, name, module)
