"""DeepSeek-V2 and V3 (DeepSeek-AI, 2024), and Youtu (Tencent, 2025): latent attention, and experts behind the first
blocks. The experts of V3 are chosen by sigmoids, with a bias of correction and by the two best of each group.
"""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import (
    BlockConfig,
    FeedForwardConfig,
    LatentAttentionConfig,
    MixtureConfig,
    Norm,
    Rotary,
)
from attention_ref.weights.layouts import llama, mixtures
from attention_ref.weights.layouts.config_keys import (
    ABSENT,
    ACTIVATIONS,
    MOST_LAYERS,
    Key,
    Keys,
    NoEffect,
    Only,
    Values,
)
from attention_ref.weights.layouts.layout import Layout, Table, within
from attention_ref.weights.layouts.parts import (
    BLOCK,
    DECODER,
    MASKS,
    ROPE,
    TIED,
    decoder_classes,
    decoder_head,
    layers,
    length_of,
    rope_of,
    rotary_of,
)
from attention_ref.weights.layouts.rules import Rule, SideBySide, WithinHeads

LATENT_EPS = 1e-6
"""That of the norms of latents, which `rms_norm_eps` does not change."""


def deepseek_v2(values: Values, kind: str) -> ModelConfig:
    """The configuration of V2: a softmax over the experts, whose weights are not divided by their sum."""
    grouped = values.topk_method == "group_limited_greedy"
    groups = {"groups": values.n_group, "chosen_groups": values.topk_group} if grouped else {}
    return _decoder(values, kind, interleaved=True, bias=values.mlp_bias, normalised=False, **groups)


def deepseek_v3(values: Values, kind: str) -> ModelConfig:
    """The configuration of V3."""
    return _decoder(
        values,
        kind,
        interleaved=values.rope_interleave,
        normalised=values.norm_topk_prob,
        scores="sigmoid",
        correction_bias=True,
        groups=values.n_group,
        chosen_groups=values.topk_group,
        group_score="two_largest",
    )


def youtu(values: Values, kind: str) -> ModelConfig:
    """The configuration of Youtu, which has no experts."""
    values.first_k_dense_replace = values.num_hidden_layers
    return _decoder(values, kind, interleaved=values.rope_interleave)


def _decoder(values: Values, kind: str, *, interleaved: bool, bias: bool = False, **mixture: Any) -> ModelConfig:
    count, dense = values.num_hidden_layers, min(values.first_k_dense_replace, values.num_hidden_layers)
    if values.num_key_value_heads not in (None, values.num_attention_heads):
        raise ValueError(f"num_key_value_heads is {values.num_key_value_heads}; every head has keys of its own")
    if getattr(values, "head_dim", None) not in (None, values.qk_rope_head_dim):
        raise ValueError(f"head_dim is {values.head_dim}; it must be qk_rope_head_dim, {values.qk_rope_head_dim}")
    norm, attention = Norm("rms", eps=values.rms_norm_eps), _attention(values, interleaved)
    networks: list[mixtures.Network] = [_network(values, values.intermediate_size, bias)] * dense
    if dense < count:
        networks += [_mixture(values, bias, **mixture)] * (count - dense)
    stack = StackConfig(
        embedding=EmbeddingConfig(vocab=values.vocab_size),
        blocks=tuple(BlockConfig(attention=attention, feedforward=each, norm=norm, order="pre") for each in networks),
        norm=norm,
    )
    return ModelConfig(decoder_stack=stack, head=decoder_head(values, kind))


def _attention(values: Values, interleaved: bool) -> LatentAttentionConfig:
    code, mscale = _rotary(values, interleaved)
    return LatentAttentionConfig(
        model=values.hidden_size,
        heads=values.num_attention_heads,
        latent_size=values.kv_lora_rank,
        query_latent_size=values.q_lora_rank,
        content_size=values.qk_nope_head_dim,
        rotary_size=values.qk_rope_head_dim,
        value_size=values.v_head_dim,
        norm=Norm("rms", eps=LATENT_EPS),
        latent_bias=values.attention_bias,
        output_bias=values.attention_bias,
        rotary=code,
        mscale=mscale,
        causal=True,
    )


def _rotary(values: Values, interleaved: bool) -> tuple[Rotary, float]:
    """The rotary positions, and the factor of the scores by `mscale_all_dim`, for any kind of scaling."""
    rope = {**(values.rope_scaling or {}), **(values.rope_parameters or {})}
    code = rotary_of(values, values.qk_rope_head_dim, interleaved=interleaved)
    return code, float(rope.get("mscale_all_dim") or 0) if code.scaling is not None else 0.0


def _network(values: Values, hidden: int, bias: bool) -> FeedForwardConfig:
    options: dict[str, Any] = {"gated": True, "input_bias": bias, "output_bias": bias}
    return FeedForwardConfig(model=values.hidden_size, hidden=hidden, activation=values.hidden_act, **options)


def _mixture(values: Values, bias: bool, **options: Any) -> MixtureConfig:
    if values.num_experts_per_tok is None:
        raise ValueError("num_experts_per_tok is missing")
    if not values.n_shared_experts:
        raise ValueError(f"n_shared_experts is {values.n_shared_experts}; it must be at least 1")
    return MixtureConfig(
        expert=_network(values, values.moe_intermediate_size, False),
        experts=values.n_routed_experts,
        chosen=values.num_experts_per_tok,
        scale=values.routed_scaling_factor,
        shared=_network(values, values.moe_intermediate_size * values.n_shared_experts, bias),
        **options,
    )


def _rope_of(config: ModelConfig) -> Any:
    rope, stack = rope_of(config), config.decoder_stack
    mscale = getattr(stack.blocks[0].attention, "mscale", 0) if stack is not None else 0
    return {**rope, "mscale_all_dim": mscale} if mscale else rope


def _dense_blocks(config: ModelConfig) -> Any:
    blocks = config.decoder_stack.blocks if config.decoder_stack is not None else ()
    return next((i for i, block in enumerate(blocks) if isinstance(block.feedforward, MixtureConfig)), len(blocks))


def _shared_experts(config: ModelConfig) -> Any:
    shared, hidden = (mixtures.of_mixture(path)(config) for path in ("shared.hidden", "expert.hidden"))
    return ABSENT if ABSENT in (shared, hidden) else shared // hidden


def _method(config: ModelConfig) -> Any:
    groups = mixtures.of_mixture("chosen_groups")(config)
    return ABSENT if groups is ABSENT else "greedy" if groups is None else "group_limited_greedy"


def _bias_of_networks(config: ModelConfig) -> Any:
    bias = mixtures.of_mixture("shared.input_bias")(config)
    return mixtures.of_dense("input_bias")(config) if bias is ABSENT else bias


def _auto_map(version: str) -> Only:
    """The names of code in the released files, which computes the same."""
    names = {"AutoModel": "Model", "AutoModelForCausalLM": "ForCausalLM"}
    code = {auto: f"modeling_deepseek.Deepseek{version}{name}" for auto, name in names.items()}
    return Only(None, {"AutoConfig": f"configuration_deepseek.Deepseek{version}Config", **code})


_LATENT_KEYS: Keys = {
    **{name: key for name, key in llama.keys().items() if name not in ("num_key_value_heads", "head_dim")},
    **ROPE,
    "rope_parameters": Key(_rope_of, default=None),
    "max_position_embeddings": Key(length_of, None),
    "num_hidden_layers": layers(DECODER),
    "tie_word_embeddings": Key(TIED, False),
    "kv_lora_rank": Key(f"{BLOCK}.attention.latent_size", 512),
    "q_lora_rank": Key(f"{BLOCK}.attention.query_latent_size", 1536),
    "qk_nope_head_dim": Key(f"{BLOCK}.attention.content_size", 128),
    "qk_rope_head_dim": Key(f"{BLOCK}.attention.rotary_size", 64),
    "v_head_dim": Key(f"{BLOCK}.attention.value_size", 128),
    "attention_bias": Key(f"{BLOCK}.attention.output_bias", False),
    "qk_head_dim": NoEffect("it is the sum of qk_nope_head_dim and qk_rope_head_dim"),
}
_EXPERT_KEYS: Keys = {
    **mixtures.ROUTER,
    "intermediate_size": Key(mixtures.of_dense("hidden"), 11008),
    "n_routed_experts": Key(mixtures.of_mixture("experts"), 64),
    "n_shared_experts": Key(_shared_experts, 2),
    "moe_intermediate_size": Key(mixtures.of_mixture("expert.hidden"), 1407),
    "num_experts_per_tok": Key(mixtures.of_mixture("chosen"), None),
    "routed_scaling_factor": Key(mixtures.of_mixture("scale"), 1.0),
    "n_group": Key(mixtures.of_mixture("groups"), None),
    "topk_group": Key(mixtures.of_mixture("chosen_groups"), None),
    "first_k_dense_replace": Key(_dense_blocks, 0, largest=MOST_LAYERS),
    "moe_layer_freq": Only(1),
    "ep_size": NoEffect("it is about how experts are spread over devices"),
    "aux_loss_alpha": NoEffect("it acts in training only"),
    "seq_aux": NoEffect("it acts in training only"),
}
V2_KEYS: Keys = {
    **_LATENT_KEYS,
    **_EXPERT_KEYS,
    "num_key_value_heads": Key(f"{BLOCK}.attention.heads", None),
    "head_dim": NoEffect("it is set to qk_rope_head_dim"),
    "mlp_bias": Key(_bias_of_networks, False),
    "topk_method": Key(_method, "greedy", {name: name for name in ("greedy", "group_limited_greedy")}),
    "norm_topk_prob": Only(False),
    "scoring_func": Only("softmax"),
    "auto_map": _auto_map("V2"),
}
V3_KEYS: Keys = {
    **_LATENT_KEYS,
    **_EXPERT_KEYS,
    "num_key_value_heads": Key(f"{BLOCK}.attention.heads", 128),
    "head_dim": Key(f"{BLOCK}.attention.rotary_size", None),
    "intermediate_size": Key(mixtures.of_dense("hidden"), 18432),
    "n_routed_experts": Key(mixtures.of_mixture("experts"), 256),
    "n_shared_experts": Key(_shared_experts, 1),
    "moe_intermediate_size": Key(mixtures.of_mixture("expert.hidden"), 2048),
    "num_experts_per_tok": Key(mixtures.of_mixture("chosen"), 8),
    "routed_scaling_factor": Key(mixtures.of_mixture("scale"), 2.5),
    "n_group": Key(mixtures.of_mixture("groups"), 8),
    "topk_group": Key(mixtures.of_mixture("chosen_groups"), 4),
    "first_k_dense_replace": Key(_dense_blocks, 3, largest=MOST_LAYERS),
    "norm_topk_prob": Key(mixtures.of_mixture("normalised"), True),
    "rope_interleave": Key(f"{BLOCK}.attention.rotary.interleaved", True),
    "scoring_func": Only("sigmoid"),
    "auto_map": _auto_map("V3"),
    "topk_method": Only("noaux_tc"),
    "num_mtp_layers": NoEffect("it is about modules that predict further tokens"),
    "num_nextn_predict_layers": NoEffect("it is about modules that predict further tokens"),
}

YOUTU_KEYS: Keys = {
    **_LATENT_KEYS,
    "num_key_value_heads": Key(f"{BLOCK}.attention.heads", 16),
    "head_dim": Key(f"{BLOCK}.attention.rotary_size", None),
    "hidden_act": Key(mixtures.activation_of, "silu", ACTIVATIONS),
    "rope_interleave": Key(f"{BLOCK}.attention.rotary.interleaved", True),
    "tie_word_embeddings": Key(TIED, True),
    "embedding_initializer_range": NoEffect("it acts in training only"),
}

_SELF_ATTENTION: Table = {
    "query_latent": "q_a_proj",
    "query_latent_norm": "q_a_layernorm",
    "latent+rotary_key": SideBySide("kv_a_proj_with_mqa", transposed=True),
    "latent_norm": "kv_a_layernorm",
    "key+value": WithinHeads("kv_b_proj"),
    "output": "o_proj",
}


def table(config: ModelConfig) -> Table:
    """The tensors of the stack; queries of a latent have another name than those of the input."""
    stack = config.decoder_stack
    has_latent = stack is not None and getattr(stack.blocks[0].attention, "query_latent_size", None) is not None
    attention = {**_SELF_ATTENTION, "query": "q_b_proj" if has_latent else "q_proj"}
    return {
        **mixtures.EXPERTS,
        **within("decoder.blocks.*.self_attention", "layers.*.self_attn", attention),
        **within("decoder.blocks.*.feedforward.shared", "layers.*.mlp.shared_experts", mixtures.DENSE),
        "decoder.blocks.*.feedforward.correction_bias": Rule("layers.*.mlp.gate.e_score_correction_bias"),
    }


_FURTHER = {r"layers\.61\..*": "a module that predicts further tokens"}
_YOUTU = {name: each for name, each in decoder_classes("Youtu", "model.").items() if "Classification" not in name}
LAYOUTS = (
    Layout(
        "deepseek_v2",
        V2_KEYS,
        deepseek_v2,
        table,
        decoder_classes("DeepseekV2", "model."),
        aliases={"num_experts": "n_routed_experts"},
        unused=MASKS,
    ),
    Layout(
        "deepseek_v3",
        V3_KEYS,
        deepseek_v3,
        table,
        decoder_classes("DeepseekV3", "model."),
        aliases={"num_local_experts": "n_routed_experts"},
        unused={**MASKS, **_FURTHER},
    ),
    Layout("youtu", YOUTU_KEYS, youtu, table, _YOUTU, unused=MASKS),
)
