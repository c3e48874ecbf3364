"""The families of released models that are read and written, one file for each."""

from __future__ import annotations

from importlib import import_module

from attention_ref.weights.layouts.layout import Layout

FILES = {
    "albert": "albert",
    "bart": "bart",
    "bert": "bert",
    "bloom": "bloom",
    "cohere": "cohere",
    "deepseek_v2": "deepseek",
    "deepseek_v3": "deepseek",
    "deit": "vit",
    "distilbert": "distilbert",
    "electra": "albert",
    "falcon": "falcon",
    "gemma": "gemma",
    "gemma2": "gemma",
    "gemma3_text": "gemma",
    "gpt2": "gpt2",
    "gpt_neox": "gpt_neox",
    "gpt_oss": "gpt_oss",
    "gptj": "gptj",
    "llama": "llama",
    "m2m_100": "m2m_100",
    "marian": "bart",
    "mbart": "bart",
    "mistral": "mistral",
    "mixtral": "mixtral",
    "modernbert": "modernbert",
    "mpt": "mpt",
    "nemotron": "nemotron",
    "olmo": "olmo",
    "olmo2": "olmo",
    "olmoe": "olmo",
    "opt": "opt",
    "phi": "phi",
    "qwen2": "qwen",
    "qwen2_moe": "qwen_moe",
    "qwen3": "qwen",
    "qwen3_moe": "qwen_moe",
    "roberta": "bert",
    "stablelm": "stablelm",
    "t5": "t5",
    "vit": "vit",
    "whisper": "whisper",
    "youtu": "deepseek",
}
"""The file of each family by its `model_type`."""


def family(name: str) -> Layout:
    """The layout of a family, by its `model_type`; a `KeyError` for an unknown family."""
    module = import_module(f"attention_ref.weights.layouts.{FILES[name]}")
    layouts: tuple[Layout, ...] = getattr(module, "LAYOUTS", None) or (module.LAYOUT,)
    return next(layout for layout in layouts if layout.name == name)
