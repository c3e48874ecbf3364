"""T5, Marian, BART, mBART, Whisper and M2M-100."""

from __future__ import annotations

from tests.families.decoders import ACTIVATIONS, BOTH, EPS
from tests.families.family import Family

_T5 = {
    "vocab_size": 19,
    "d_model": 8,
    "d_kv": 6,
    "d_ff": 12,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 2,
    "relative_attention_num_buckets": 6,
    "relative_attention_max_distance": 4,
    "layer_norm_epsilon": 1e-2,
}
_GATED = {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
_SIZES = {
    "vocab_size": 19,
    "d_model": 8,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 10,
    "decoder_start_token_id": 2,
}
_MARIAN = {**_SIZES, "max_position_embeddings": 9, "pad_token_id": 0, "scale_embedding": True}
_BART = {**_SIZES, "max_position_embeddings": 9, "scale_embedding": True, "activation_function": "gelu_new"}
_M2M = {**_SIZES, "max_position_embeddings": 9, "pad_token_id": 1, "activation_function": "gelu_new"}
_WHISPER = {
    **_SIZES,
    "num_mel_bins": 3,
    "max_source_positions": 4,
    "max_target_positions": 9,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SEPARATE = {"decoder_vocab_size": 17, "share_encoder_decoder_embeddings": False, "activation_function": "swish"}
_VARIED_T5 = {
    "*layers": ({"num_layers": 1, "num_decoder_layers": None}, {"num_layers": 3, "num_decoder_layers": 1}),
    "num_heads": (1, 3),
    "d_kv": (2, 5),
    "*distance": (
        {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20},
        {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
    ),
    "feed_forward_proj": ("relu", "gelu", "silu", "gated-gelu", "gated-silu", "gated-relu"),
    "layer_norm_epsilon": EPS,
}
_VARIED = {
    "encoder_layers": (1, 3),
    "decoder_layers": (1, 3),
    "encoder_attention_heads": (1, 2, 4),
    "decoder_attention_heads": (1, 2, 4),
    "activation_function": ACTIVATIONS,
}
_VARIED_BART = {**_VARIED, "scale_embedding": BOTH, "tie_word_embeddings": BOTH}

FAMILIES = (
    Family("t5", "T5ForConditionalGeneration", _T5, "pair", varied=_VARIED_T5),
    Family("t5-1.1", "T5ForConditionalGeneration", _GATED, "pair", untied=("lm_head",), varied=_VARIED_T5),
    Family("marian", "MarianMTModel", _MARIAN, "pair", varied={**_VARIED, "scale_embedding": BOTH}),
    Family("marian-separate", "MarianMTModel", {**_MARIAN, **_SEPARATE}, "pair", varied=_VARIED_BART),
    Family("bart", "BartForConditionalGeneration", _BART, "pair", varied=_VARIED_BART),
    Family("bart-classifier", "BartForSequenceClassification", {**_BART, "num_labels": 3}, "classified"),
    Family("mbart", "MBartForConditionalGeneration", {**_BART, "scale_embedding": False}, "pair", varied=_VARIED_BART),
    Family(
        "whisper", "WhisperForConditionalGeneration", _WHISPER, "sound", varied={**_VARIED, "tie_word_embeddings": BOTH}
    ),
    Family("m2m-100", "M2M100ForConditionalGeneration", _M2M, "pair", varied=_VARIED_BART),
)
