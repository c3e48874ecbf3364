"""Keys of a released model's `config.json`, each with where its value is in our configuration.

A key is read and written (`Key`), has no influence on what the model computes (`NoEffect`), or must have one of a few
values, because we compute nothing else (`Only`). A key that a family does not list is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

Values = SimpleNamespace
"""The values of all keys that are read, by name."""

ABSENT: Any = object()
"""No value: a key without a default, or one that is not written."""

LARGEST = 2**24
"""The largest size of a model; larger integers are refused before an array of such a size is made."""

MOST_LAYERS = 1000
"""The same for the number of blocks."""

ACTIVATIONS = {
    "relu": "relu",
    "relu2": "relu_squared",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu",
    "swish": "silu",
    "tanh": "tanh",
}
"""The activations of released models and ours; where several are one of ours, the first is written."""


@dataclass(frozen=True)
class Key:
    """A key that is read and written.

    Arguments:
        at: where its value is in a `ModelConfig`, a dotted path or a function of it; `ABSENT` for a key that is read
            only, such as an older name.
        default: the value for a file without the key; `ABSENT` if there is none.
        names: their words and ours, where the value is a word.
        smallest, largest: the smallest and the largest integer that are read.
    """

    at: str | Callable[[Any], Any]
    default: Any = ABSENT
    names: Mapping[str, str] | None = None
    smallest: int = -LARGEST
    largest: int = LARGEST

    def read(self, value: Any) -> Any:
        """Return our value for a value of the file.

        Raises:
            ValueError: for a value that we do not know, with what is wrong.
        """
        if isinstance(value, int) and value > self.largest:
            raise ValueError(f"is {value:.3g}; at most {self.largest} makes sense")
        if isinstance(value, int) and value < self.smallest:
            raise ValueError(f"is {value:.3g}; at least {self.smallest} makes sense")
        if isinstance(self.default, bool) and not isinstance(value, bool):
            raise ValueError(f"is {value!r:.80}; it must be true or false")
        if self.names is None:
            return value
        if not isinstance(value, str) or value not in self.names:
            raise ValueError(f"is {value!r}; supported are {', '.join(self.names)}")
        return self.names[value]

    def write(self, config: Any) -> Any:
        """Return the value of the file for ours; `ABSENT` where the configuration has none."""
        value = self.at(config) if callable(self.at) else _follow(config, self.at)
        if value is ABSENT or self.names is None:
            return value
        return next((theirs for theirs, ours in self.names.items() if ours == value), value)


@dataclass(frozen=True)
class NoEffect:
    """A key without influence on what the model computes.

    Arguments:
        reason: why.
        written: its value in a file that we write, where its default could make `transformers` refuse the file.
    """

    reason: str
    written: Any = ABSENT


class Only:
    """A key that may have these values, because we compute nothing else; the first is written and the default."""

    def __init__(self, *allowed: Any) -> None:
        self.allowed = allowed


Keys = Mapping[str, "Key | NoEffect | Only"]

_TRAINING = NoEffect("it acts in training only")
_GENERATION = NoEffect("it is about how tokens are generated from the scores")
_TOKEN = NoEffect("it says what a token means, not what the model computes")
_FILE = NoEffect("it is about the file or the program, not about the model")

_TRAINED = (
    "initializer_range initializer_factor init_std dropout attention_dropout activation_dropout hidden_dropout "
    "classifier_dropout classif_dropout layerdrop encoder_layerdrop decoder_layerdrop attn_pdrop embd_pdrop "
    "resid_pdrop hidden_dropout_prob attention_probs_dropout_prob dropout_rate gradient_checkpointing "
)
_GENERATED = (
    "use_cache max_length min_length do_sample num_beams early_stopping no_repeat_ngram_size length_penalty "
    "temperature top_k top_p repetition_penalty num_return_sequences bad_words_ids forced_bos_token_id "
    "forced_eos_token_id decoder_start_token_id num_beam_groups diversity_penalty suppress_tokens "
    "begin_suppress_tokens forced_decoder_ids task_specific_params generation_config "
)
_TOKENS = "bos_token_id eos_token_id pad_token_id sep_token_id unk_token_id mask_token_id tokenizer_class prefix "
_FILED = (
    "transformers_version _name_or_path name_or_path dtype torch_dtype return_dict output_hidden_states "
    "output_attentions problem_type finetuning_task model_type architectures id2label label2id num_labels "
    "chunk_size_feed_forward output_past gradient_accumulation_steps attn_implementation _attn_implementation "
    "_attn_implementation_autoset _num_labels language license "
)
COMMON: Keys = {
    **dict.fromkeys(_TRAINED.split(), _TRAINING),
    **dict.fromkeys(_GENERATED.split(), _GENERATION),
    **dict.fromkeys(_TOKENS.split(), _TOKEN),
    **dict.fromkeys(_FILED.split(), _FILE),
    "is_encoder_decoder": NoEffect("the family says it"),
    "is_decoder": Only(False),
    "add_cross_attention": Only(False),
    "cross_attention_hidden_size": Only(None),
    "tie_encoder_decoder": Only(False),
    "pruned_heads": Only({}, None),
    "quantization_config": Only(None),
    "auto_map": Only(None),
    "torchscript": NoEffect("it is about how PyTorch runs the model"),
    "use_bfloat16": Only(False),
}
"""The keys of every family; a family may list one of them differently."""


def read_keys(keys: Keys, data: Mapping[str, Any], common: Keys = COMMON) -> tuple[Values, list[str]]:
    """Read a `config.json`, or the options of a layer: the values of all keys, and what is wrong with them."""
    values, problems = Values(), []
    known = {**common, **keys}
    for name, key in known.items():
        given = data.get(name, ABSENT)
        if isinstance(key, Only) and given is not ABSENT and given not in key.allowed:
            allowed = " or ".join(map(repr, key.allowed))
            problems.append(f"{name} is {given!r:.200}; only {allowed} is supported")
        elif isinstance(key, Key):
            try:
                setattr(values, name, _value(key, given))
            except ValueError as error:
                problems.append(f"{name} {error}")
    problems += [f"{name} is not known: {data[name]!r:.200}" for name in data if name not in known]
    labels = data.get("id2label")
    values.num_labels = len(labels) if isinstance(labels, dict) else data.get("num_labels", 2)
    return values, problems


def write_keys(keys: Keys, config: Any) -> dict[str, Any]:
    """Write a `config.json`, or the options of a layer: what is read, and what would else be refused."""
    written = {}
    for name, key in keys.items():
        if isinstance(key, Key):
            written[name] = key.write(config)
        elif isinstance(key, NoEffect):
            written[name] = key.written
    head = getattr(config, "head", None)
    if head is not None and head.kind != "pooler":
        written["id2label"] = {str(i): f"LABEL_{i}" for i in range(head.size)}
        written["label2id"] = {f"LABEL_{i}": i for i in range(head.size)}
    return {name: value for name, value in written.items() if value is not ABSENT}


def _value(key: Key, given: Any) -> Any:
    if given is not ABSENT:
        # a file may name the default by null
        return key.default if given is None and key.default is not ABSENT and key.names else key.read(given)
    if key.default is ABSENT:
        raise ValueError("is missing")
    return key.default


def _follow(config: Any, path: str) -> Any:
    value = config
    for step in path.split("."):
        if value is None:
            return ABSENT
        value = value[int(step)] if step.isdigit() else getattr(value, step, ABSENT)
        if value is ABSENT:
            return ABSENT
    return value
