"""StableLM 2 (Stability AI, 2024): Llama with LayerNorm, a quarter of each head rotated, some with parallel blocks."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import Norm
from attention_ref.weights.layouts import llama
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import (
    BLOCK,
    MASKS,
    PARTIAL_ROPE,
    decoder_classes,
    decoder_head,
    rotary_of,
)
from attention_ref.weights.layouts.rules import Rule


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: in parallel blocks, both branches read one norm; with `qk_layernorm`, each head of queries and
    keys has a gain of its own.
    """
    parallel = values.use_parallel_residual
    rotary = rotary_of(values, values.hidden_size // values.num_attention_heads, fraction=0.25)
    return llama.decoder(
        values,
        decoder_head(values, kind),
        values.hidden_act,
        bias=values.use_qkv_bias,
        output_bias=False,
        norm=Norm("layer", eps=values.layer_norm_eps),
        normalizes_heads="separate" if values.qk_layernorm else False,
        head_norm=Norm("layer", eps=values.layer_norm_eps, bias=False),
        rotaries={llama.FULL: rotary},
        order="parallel" if parallel else "pre",
        shared_norm=parallel,
    )


def _is_parallel(config: ModelConfig) -> Any:
    stack = config.decoder_stack
    return ABSENT if stack is None else stack.blocks[0].order == "parallel"


_KEYS: Keys = {
    **llama.keys(eps=1e-5, eps_name="layer_norm_eps"),
    **PARTIAL_ROPE,
    "use_qkv_bias": Key(f"{BLOCK}.attention.query_bias", False),
    "use_parallel_residual": Key(_is_parallel, False),
    "qk_layernorm": Key(llama.normalizes_heads, False),
}
KEYS: Keys = {name: key for name, key in _KEYS.items() if name != "head_dim"}
TABLE: Table = {
    **llama.TABLE,
    "decoder.blocks.*.self_attention.query_norm.gain": Rule("layers.*.self_attn.q_layernorm.norms.{row}.weight"),
    "decoder.blocks.*.self_attention.key_norm.gain": Rule("layers.*.self_attn.k_layernorm.norms.{row}.weight"),
}

LAYOUT = Layout("stablelm", KEYS, configure, TABLE, decoder_classes("StableLm", "model."), unused=MASKS)
