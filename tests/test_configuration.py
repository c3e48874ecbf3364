"""A configuration that has no meaning says which rule it breaks, and what it received."""

from __future__ import annotations

import inspect
import re

import pytest

from attention_ref import spec
from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, Patches, StackConfig, stack
from attention_ref.spec.config import (
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    Learned,
    MixtureConfig,
    Norm,
    RelativeBias,
    Rotary,
    RotaryScaling,
    Sinusoid,
)
from attention_ref.spec.records import from_json

NORM = Norm("layer", eps=1e-5)
PATCHES = Patches(size=2, height=4, width=4)
LONGROPE = RotaryScaling(kind="longrope", factor=2.0, short_factors=(1.0,), long_factors=(2.0,))


def block(model=8, **options):
    attention = AttentionConfig(model=model, heads=2)
    return BlockConfig(attention=attention, feedforward=FeedForwardConfig(model=8, hidden=4), norm=NORM, **options)


def mixture(*, chosen=2, **options):
    return MixtureConfig(expert=FeedForwardConfig(model=8, hidden=4), experts=4, chosen=chosen, **options)


HUGE = 10**400

WRONG = {
    "eps past float64": (lambda: Norm("layer", eps=HUGE), "eps must be a finite number.* an integer of 401 digits"),
    "eps that is NaN": (lambda: Norm("layer", eps=float("nan")), "eps must be a finite number.* nan"),
    "a list for text": (lambda: Norm(["layer"], eps=1.0), r"kind must be layer or rms.* \['layer'\]"),
    "a size past int64": (
        lambda: AttentionConfig(model=HUGE, heads=2),
        "model must be an integer of int64.* an integer of 401 digits",
    ),
    "a scale past float64": (
        lambda: AttentionConfig(model=8, heads=2, scale=HUGE),
        "scale must be a finite number or None.* an integer of 401 digits",
    ),
    "a negative window": (
        lambda: AttentionConfig(model=8, heads=2, window=(-1, 0)),
        r"the distances of window must be at least 0, None where open.* \(-1, 0\)",
    ),
    "a window as a list": (lambda: AttentionConfig(model=8, heads=2, window=[1, 0]), r"window must be .* \[1, 0\]"),
    "YaRN with base 1": (
        lambda: Rotary(base=1.0, scaling=RotaryScaling(kind="yarn", factor=2.0)),
        "yarn needs a base above 1.* 1.0",
    ),
    "no slow rotations": (
        lambda: RotaryScaling(kind="yarn", factor=2.0, slow_rotations=0.0),
        "slow_rotations must be above 0.* 0.0",
    ),
    "a base whose inverse is infinite": (lambda: Rotary(base=1e-320), "base must be a normal number.* 1e-320"),
    "half a layer": (
        lambda: ModelConfig.encoder(vocab=3, model=4, heads=2, layers=1.5, feedforward=4),
        "layers must be an integer of at least 1.* 1.5",
    ),
    "a list of types in JSON": (
        lambda: from_json(EmbeddingConfig, {"positions": {"type": ["Sinusoid"]}}),
        r"type must be Sinusoid or Learned.* \['Sinusoid'\]",
    ),
    "a list for a configuration in JSON": (lambda: from_json(Norm, []), r"a Norm must be a JSON object.* \[\]"),
    "a number for a key": (lambda: from_json(Norm, {1: 2, "kind": "rms"}), "Norm has the keys kind, eps.* 1"),
    "negative eps": (lambda: Norm("rms", eps=-1.0), "eps must be at least 0.* -1.0"),
    "no base": (lambda: Sinusoid(base=0.0), "base must be above 0.* 0.0"),
    "empty table": (lambda: Learned(length=0), "length must be above 0.* 0"),
    "a field of another kind": (
        lambda: RotaryScaling(kind="linear", factor=2.0, attention_factor=1.0),
        "attention_factor is an option of yarn and longrope only.* attention_factor with linear",
    ),
    "crossed ends": (
        lambda: RotaryScaling(kind="llama3", factor=2.0, low_frequency_factor=4.0, high_frequency_factor=1.0),
        "low_frequency_factor must be below high_frequency_factor.* 4.0 and 1.0",
    ),
    "odd rotary": (lambda: Rotary(dimension=3), "dimension must be even and above 0.* 3"),
    "rotary wider than a head": (
        lambda: AttentionConfig(model=8, heads=4, rotary=Rotary(dimension=4)),
        "the rotary dimension must be even and at most the head size.* 4",
    ),
    "few buckets": (lambda: RelativeBias(buckets=3), "buckets must be at least 4.* 3"),
    "groups": (lambda: AttentionConfig(model=8, heads=4, kv_heads=3), "heads must be a multiple of kv_heads.* 4 and 3"),
    "heads": (lambda: AttentionConfig(model=9, heads=4), "model must be a multiple of heads.* 9 and 4"),
    "dropout": (lambda: AttentionConfig(model=8, heads=4, dropout=1.0), "dropout must be at least 0 and below 1.* 1.0"),
    "model sizes": (lambda: block(model=4, order="pre"), "feedforward must have the block's model size 4.* 8"),
    "heads of a norm that is not there": (
        lambda: AttentionConfig(model=8, heads=2, query_key_norm_heads="joint"),
        "query_key_norm_heads needs a query_key_norm.* joint",
    ),
    "no clipping": (lambda: AttentionConfig(model=8, heads=2, clip=0.0), "clip must be above 0.* 0.0"),
    "a factor of nothing": (
        lambda: AttentionConfig(model=8, heads=2, alibi_factor=0.5),
        "alibi_factor is an option of alibi only.* 0.5",
    ),
    "a trained key outside the window": (
        lambda: AttentionConfig(model=8, heads=2, trained_key_value=True, window=(1, 0)),
        r"a trained_key_value, which every query sees, excludes a window.* \(1, 0\)",
    ),
    "two memories of one block": (
        lambda: block(order="pre", cross_attention=AttentionConfig(model=8, heads=2, value_memory_size=3)),
        r"cross_attention must read keys and values of one memory.* \(8, 3\)",
    ),
    "an offset of no gain": (
        lambda: Norm("rms", eps=1.0, gain=False, gain_offset=1.0),
        "a gain_offset needs a gain.* 1.0",
    ),
    "no first norm after": (
        lambda: block(order="post", self_attention_norm=False),
        "self_attention_norm may be left out in pre-norm blocks only.* post",
    ),
    "a residual behind no norm": (
        lambda: block(order="pre", self_attention_norm=False, residual="norm"),
        "a residual that starts behind the norm needs a self_attention_norm.* none",
    ),
    "a residual behind a later norm": (
        lambda: block(order="output", residual="norm"),
        "a residual that starts behind the norm is an option of pre-norm blocks only.* output",
    ),
    "LongRoPE without factors": (
        lambda: RotaryScaling(kind="longrope", factor=2.0, short_factors=(1.0,)),
        "longrope needs long_factors above 0.* None",
    ),
    "LongRoPE of other pairs": (
        lambda: AttentionConfig(model=8, heads=2, rotary=Rotary(scaling=LONGROPE)),
        r"longrope needs 2 factors of each kind, one for every rotated pair.* \[1, 1\]",
    ),
    "truncated nothing": (
        lambda: RotaryScaling(kind="linear", factor=2.0, truncate=False),
        "truncate is an option of yarn only.* truncate with linear",
    ),
    "a negative offset of sinusoids": (lambda: Sinusoid(offset=-1), "offset must be at least 0 and below 2.* -1"),
    "a skipped token without an offset": (
        lambda: EmbeddingConfig(vocab=4, positions=Sinusoid(), positions_skip=0),
        "positions_skip needs tokens and positions with an offset",
    ),
    "a limit of a plain network": (
        lambda: FeedForwardConfig(model=8, hidden=4, clip=1.0),
        "clip is an option of gated networks only.* 1.0",
    ),
    "an offset of a plain network": (
        lambda: FeedForwardConfig(model=8, hidden=4, input_offset=1.0),
        "input_offset is an option of gated networks only.* 1.0",
    ),
    "more experts chosen than there are": (lambda: mixture(chosen=5), "chosen must be at most 4, the experts.* 5"),
    "no expert chosen": (lambda: mixture(chosen=0), "chosen must be above 0.* 0"),
    "uneven groups": (lambda: mixture(groups=3), "experts must be a multiple of groups.* 4 and 3"),
    "more groups chosen than there are": (
        lambda: mixture(groups=2, chosen_groups=3),
        "chosen_groups must be at most the 2 groups.* 3",
    ),
    "more chosen than the groups have": (
        lambda: mixture(groups=2, chosen_groups=1, chosen=3),
        "chosen must be at most 2, the experts of the chosen groups.* 3",
    ),
    "a score of groups that are not compared": (
        lambda: mixture(groups=2, group_score="two_largest"),
        "group_score is an option of chosen_groups only.* two_largest",
    ),
    "two experts of groups of one": (
        lambda: mixture(groups=4, chosen_groups=2, group_score="two_largest"),
        "the two_largest scores need groups of at least two experts.* 1",
    ),
    "a shared expert of another size": (
        lambda: mixture(shared=FeedForwardConfig(model=4, hidden=4)),
        "shared must have the experts' model size 8.* 4",
    ),
    "a gate of no shared expert": (lambda: mixture(shared_gate=True), "a shared_gate needs a shared expert.* none"),
    "a second token alone": (
        lambda: Patches(size=2, height=4, width=4, class_token=False, distillation_token=True),
        "a distillation_token needs a class_token.* none",
    ),
    "a projection of nothing": (
        lambda: EmbeddingConfig(vocab=4, projected="tokens"),
        "projected and projection_bias need a size.* none",
    ),
    "a size of vectors": (lambda: EmbeddingConfig(size=4), "only token vectors have a size of their own.* 4"),
    "a transform of no size": (
        lambda: HeadConfig(kind="language", size=4, transform_size=2),
        "transform_size needs a transform.* 2",
    ),
    "no bias of no transform": (
        lambda: HeadConfig(kind="language", size=4, transform_bias=False),
        "transform_bias needs a transform.* False",
    ),
    "shared norm": (
        lambda: block(order="pre", shared_norm=True),
        "shared_norm is an option of parallel blocks only.* pre",
    ),
    "two inputs": (
        lambda: EmbeddingConfig(vocab=4, patches=PATCHES),
        "at most one of vocab, patches and audio.* patches",
    ),
    "scaled image": (lambda: EmbeddingConfig(patches=PATCHES, scale=2.0), "scale must be 1.* 2.0"),
    "too few positions": (
        lambda: EmbeddingConfig(patches=PATCHES, positions=Learned(length=4)),
        "an image of 5 vectors needs at least 5 positions.* 4",
    ),
    "no blocks": (lambda: StackConfig(embedding=EmbeddingConfig(), blocks=()), "at least one block.* none"),
    "odd model": (
        lambda: stack(vocab=4, model=9, heads=3, layers=1, feedforward=4, causal=False, cross=False),
        "even model size of at least 2.* 9",
    ),
    "pooler": (lambda: HeadConfig(kind="pooler", size=4, softcap=1.0), "a pooler is a projection.* softcap"),
    "norm alone": (
        lambda: HeadConfig(kind="language", size=4, norm=NORM),
        "a head with a norm must have a transform.* a norm without a transform",
    ),
    "no stack": (ModelConfig, "an encoder_stack or a decoder_stack.* neither"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_configuration_is_rejected_with_its_rule(name):
    make, message = WRONG[name]
    with pytest.raises(spec.SpecificationError, match=f"(?s){message}"):
        make()


BUILDERS = (ModelConfig.encoder, ModelConfig.decoder, ModelConfig.encoder_decoder)
SIZES = {"model": 8, "heads": 4, "layers": 2, "feedforward": 6}
CHANGED = {
    "model": 16,
    "heads": 2,
    "layers": 1,
    "feedforward": 5,
    "kv_heads": 2,
    "norm": Norm("rms", eps=1e-6),
    "order": "post",
    "activation": "relu",
    "gated": True,
    "bias": False,
    "positions": None,
    "scale_embedding": False,
    "dropout": 0.5,
}


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
def test_a_builder_shows_the_arguments_of_its_stacks(builder) -> None:
    shown = inspect.signature(builder).parameters
    of_stacks = {n: p.default for n, p in inspect.signature(stack).parameters.items() if n not in ("causal", "cross")}
    assert {name: shown[name].default for name in of_stacks} == of_stacks
    assert {parameter.kind for parameter in shown.values()} == {inspect.Parameter.KEYWORD_ONLY}
    described = inspect.getdoc(builder).partition("Arguments:")[2]
    assert [name for name in shown if not re.search(rf"^    (\w+, )*{name}[,:]", described, re.MULTILINE)] == []


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
def test_a_builder_passes_an_argument_to_its_stacks(builder, name) -> None:
    given = {**SIZES, name: CHANGED[name]}
    config = builder(vocab=5, **given)
    if config.encoder_stack is not None:
        assert config.encoder_stack == stack(vocab=5, causal=False, cross=False, **given)
    if config.decoder_stack is not None:
        crosses = config.encoder_stack is not None
        assert config.decoder_stack == stack(vocab=5, causal=True, cross=crosses, **given)
    assert config != builder(vocab=5, **SIZES)
