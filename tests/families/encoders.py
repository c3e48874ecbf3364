"""BERT, RoBERTa, ALBERT, ELECTRA, DistilBERT, ModernBERT, ViT and DeiT."""

from __future__ import annotations

from typing import Any

from tests.families.decoders import ACTIVATIONS, BOTH, EPS
from tests.families.family import Family

_BERT = {
    "vocab_size": 19,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 9,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-2,
    "num_labels": 3,
}
_ROBERTA = {**_BERT, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1}
_DISTILBERT = {
    "vocab_size": 19,
    "dim": 8,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 12,
    "max_position_embeddings": 9,
    "num_labels": 3,
}
_VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "image_size": [4, 6],
    "patch_size": 2,
    "num_channels": 3,
    "layer_norm_eps": 1e-2,
    "num_labels": 3,
}
_MODERNBERT = {
    **{name: value for name, value in _BERT.items() if name not in ("type_vocab_size", "layer_norm_eps")},
    "num_hidden_layers": 3,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    "local_attention": 2,
    "norm_eps": 1e-2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    },
}
_VARIED = {
    "num_hidden_layers": (1, 3),
    "num_attention_heads": (1, 2, 4),
    "hidden_act": ACTIVATIONS,
    "layer_norm_eps": EPS,
    "tie_word_embeddings": BOTH,
    "type_vocab_size": (1, 2, 5),
}
_GROUPS = tuple(
    {"num_hidden_layers": layers, "num_hidden_groups": groups, "inner_group_num": inner}
    for layers, groups, inner in ((3, 1, 1), (3, 2, 1), (2, 2, 1), (2, 1, 2), (3, 2, 2))
)
_VARIED_DISTILBERT = {
    "n_layers": (1, 3),
    "n_heads": (1, 2, 4),
    "activation": ("relu", "gelu"),
    "tie_word_embeddings": BOTH,
    "sinusoidal_pos_embds": BOTH,
}
_VARIED_MODERNBERT = {
    "num_attention_heads": (1, 2, 4),
    "local_attention": (2, 4, 128),
    "hidden_activation": ACTIVATIONS,
    "classifier_activation": ACTIVATIONS,
    "norm_eps": EPS,
    **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "decoder_bias", "classifier_bias"), BOTH),
    "tie_word_embeddings": BOTH,
}
_VARIED_VIT = {
    "num_hidden_layers": (1, 3),
    "num_attention_heads": (1, 2, 4),
    "hidden_act": ACTIVATIONS,
    "layer_norm_eps": EPS,
    "qkv_bias": BOTH,
    "*image": ({"image_size": 4}, {"image_size": [4, 6], "num_channels": 1}, {"image_size": 6, "patch_size": 3}),
}


def _bert(model: str, **more: Any) -> Family:
    name = model.replace("Model", "").lower().replace("for", "-", 1)
    small = {"embedding_size": 6} if model.startswith(("Albert", "Electra")) else {}
    groups = {"*groups": _GROUPS} if model.startswith("Albert") else {}
    options = {**(_ROBERTA if model.startswith("Roberta") else _BERT), **small, **more}
    varied = (
        {**_VARIED, **({"embedding_size": (3, 8)} if small else {}), **groups} if model.endswith("MaskedLM") else {}
    )
    inputs = "tokens" if "Causal" in model else "segments"
    return Family(
        name, model, options, inputs, "pooler_output" if name in ("bert", "albert") else "logits", varied=varied
    )


def _distilbert(model: str, output: str = "logits", **more: Any) -> Family:
    name = model.replace("Model", "").lower().replace("for", "-", 1)
    varied = _VARIED_DISTILBERT if model.endswith("MaskedLM") else {}
    return Family(name, model, {**_DISTILBERT, **more}, output=output, varied=varied)


FAMILIES = (
    _bert("BertModel"),
    _bert("BertForMaskedLM", hidden_act="relu"),
    _bert("BertForSequenceClassification"),
    _bert("BertForTokenClassification", hidden_act="gelu_new"),
    _bert("RobertaForMaskedLM", hidden_act="silu"),
    _bert("RobertaForCausalLM", is_decoder=True),
    _bert("RobertaForSequenceClassification"),
    _bert("AlbertModel"),
    _bert("AlbertForMaskedLM", hidden_act="relu", num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2),
    _bert("AlbertForSequenceClassification"),
    _bert("ElectraForMaskedLM", hidden_act="relu", embedding_size=8),
    _bert("ElectraForSequenceClassification"),
    _distilbert("DistilBertModel", "last_hidden_state", activation="relu"),
    _distilbert("DistilBertForMaskedLM", activation="relu"),
    _distilbert("DistilBertForSequenceClassification", sinusoidal_pos_embds=True),
    Family("modernbert-maskedlm", "ModernBertForMaskedLM", _MODERNBERT, padding=False, varied=_VARIED_MODERNBERT),
    Family("modernbert-classifier", "ModernBertForSequenceClassification", {**_MODERNBERT, "norm_bias": True}),
    Family("vit", "ViTModel", {**_VIT, "pooler_output_size": 5}, "image", "pooler_output"),
    Family(
        "vit-classifier",
        "ViTForImageClassification",
        {**_VIT, "qkv_bias": False, "hidden_act": "quick_gelu"},
        "image",
        varied=_VARIED_VIT,
    ),
    Family("deit", "DeiTModel", {**_VIT, "image_size": 4, "pooler_output_size": 5}, "image", "pooler_output"),
    Family("deit-classifier", "DeiTForImageClassification", {**_VIT, "image_size": 4}, "image", varied=_VARIED_VIT),
)
