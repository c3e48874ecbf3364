"""Bad input is refused with the same words everywhere: those of the specification.

Every case changes one good call. What the backends and the specification's own operations say is compared with what
`spec.attention_checks` says of the same shapes, dtypes and options, and with what the case says was received.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from attention_ref import spec, weights
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec import attention_checks, call_checks
from attention_ref.spec.shapes import Described

DTYPES = {"float32": "real", "bool": "bool", "int64": "integer"}
"""The dtypes that a case may use, and what the specification calls them where it has them."""

B, H, G, Q, K, D, V, A = 2, 4, 2, 3, 5, 8, 6, 7


class Given(NamedTuple):
    """An array of a case; its values are 0, or what `value` says."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    value: float = 0


QUERY_KEY_VALUE = {"query": Given((B, H, Q, D)), "key": Given((B, G, K, D)), "value": Given((B, G, K, V))}
GOOD = {
    "attention": QUERY_KEY_VALUE,
    "additive_attention": QUERY_KEY_VALUE
    | {"score_kernel": Given((A,)), "query_kernel": Given((D, A)), "key_kernel": Given((D, A))},
    "multiplicative_attention": QUERY_KEY_VALUE | {"score_kernel": Given((D, D))},
}

ORDER = (*QUERY_KEY_VALUE, "mask", "bias", "query_offset", "key_lengths", "dropout_mask", "sinks")
"""The order in which a message gives the shapes; kernels follow."""

MASK = Given((Q, K), "bool", 1)

EVERYWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "query of rank 2": ({"query": Given((Q, D))}, "an array of rank 2"),
    "key of rank 1": ({"key": Given((D,))}, "an array of rank 1"),
    "value of another rank": ({"value": Given((G, K, V))}, "(2,) and ()"),
    "another batch": ({"key": Given((3, G, K, D)), "value": Given((3, G, K, V))}, "(2,) and (3,)"),
    "a batch of one": ({"key": Given((1, G, K, D)), "value": Given((1, G, K, V))}, "(2,) and (1,)"),
    "indivisible heads": ({"key": Given((B, 3, K, D)), "value": Given((B, 3, K, V))}, "h = 4 and g = 3"),
    "more key heads than query heads": (
        {"key": Given((B, 8, K, D)), "value": Given((B, 8, K, V))},
        "h = 4 and g = 8",
    ),
    "key and value heads differ": ({"value": Given((B, H, K, V))}, "2 and 4"),
    "key and value lengths differ": ({"value": Given((B, G, 4, V))}, "5 and 4"),
    "integer query": ({"query": Given((B, H, Q, D), "int64")}, "int64"),
    "boolean value": ({"value": Given((B, G, K, V), "bool")}, "bool"),
    "complex key": ({"key": Given((B, G, K, D), "complex64")}, "complex64"),
    "mixed dtypes": ({"value": Given((B, G, K, V), "float16")}, "float32 and float16"),
    "float mask": ({"mask": Given((Q, K))}, "float32"),
    "integer mask": ({"mask": Given((Q, K), "int64", 1)}, "int64"),
    "mask that does not broadcast": ({"mask": Given((Q, 4), "bool", 1)}, "(3, 4)"),
    "mask of a key/value head each": ({"mask": Given((B, G, Q, K), "bool", 1)}, "(2, 2, 3, 5)"),
    "mask of too many axes": ({"mask": Given((1, B, H, Q, K), "bool", 1)}, "(1, 2, 4, 3, 5)"),
    "boolean bias": ({"bias": Given((Q, K), "bool", 1)}, "bool"),
    "bias of another dtype": ({"bias": Given((Q, K), "float16")}, "float32 and float16"),
    "bias that does not broadcast": ({"bias": Given((H, 1, 4))}, "(4, 1, 4)"),
    "negative length": ({"key_lengths": Given((B,), "int64", -1)}, "-1"),
    "length beyond k": ({"key_lengths": Given((B,), "int64", 6)}, "6"),
    "float lengths": ({"key_lengths": Given((B,))}, "float32"),
    "lengths of another batch": ({"key_lengths": Given((3,), "int64")}, "(3,)"),
    "float offset": ({"query_offset": Given((B,)), "causal": True}, "float32"),
    "boolean offset": ({"query_offset": Given((B,), "bool"), "causal": True}, "bool"),
    "offset of another batch": ({"query_offset": Given((B, 1), "int64"), "causal": True}, "(2, 1)"),
    "causal as a string": ({"causal": "upper_left"}, "'upper_left'"),
    "causal as an integer": ({"causal": 1}, "1"),
    "window of one number": ({"window": 3}, "3"),
    "window of three numbers": ({"window": (1, 2, 3)}, "(1, 2, 3)"),
    "negative window": ({"window": (-1, 0)}, "(-1, 0)"),
    "window of floats": ({"window": (1.0, None)}, "(1.0, None)"),
    "window of booleans": ({"window": (True, None)}, "(True, None)"),
    "dropout of everything": ({"dropout": 1.0, "dropout_mask": MASK}, "1.0"),
    "negative dropout": ({"dropout": -0.1, "dropout_mask": MASK}, "-0.1"),
    "dropout that is NaN": ({"dropout": float("nan"), "dropout_mask": MASK}, "nan"),
    "boolean dropout": ({"dropout": True, "dropout_mask": MASK}, "True"),
    "dropout without a mask": ({"dropout": 0.5}, "dropout=0.5 alone"),
    "dropout mask without a rate": ({"dropout_mask": MASK}, "dropout=0"),
    "float dropout mask": ({"dropout": 0.5, "dropout_mask": Given((Q, K))}, "float32"),
    "dropout mask that does not broadcast": ({"dropout": 0.5, "dropout_mask": Given((4, K), "bool")}, "(4, 5)"),
}

ATTENTION = EVERYWHERE | {
    "head sizes differ": ({"key": Given((B, G, K, 4))}, "8 and 4"),
    "head size of 0": ({"query": Given((B, H, Q, 0)), "key": Given((B, G, K, 0))}, "0"),
    "infinite scale": ({"scale": float("inf")}, "inf"),
    "scale that is NaN": ({"scale": float("nan")}, "nan"),
    "boolean scale": ({"scale": True}, "True"),
    "scale as a string": ({"scale": "auto"}, "'auto'"),
    "softcap of 0": ({"softcap": 0.0}, "0.0"),
    "negative softcap": ({"softcap": -5.0}, "-5.0"),
    "softcap that is NaN": ({"softcap": float("nan")}, "nan"),
    "infinite softcap": ({"softcap": float("inf")}, "inf"),
    "sinks for the key/value heads": ({"sinks": Given((G,))}, "(2,)"),
    "sinks with a batch": ({"sinks": Given((B, H))}, "(2, 4)"),
    "sinks of another dtype": ({"sinks": Given((H,), "float16")}, "float32 and float16"),
    "integer sinks": ({"sinks": Given((H,), "int64")}, "int64"),
}

ADDITIVE = EVERYWHERE | {
    "score kernel of rank 2": ({"score_kernel": Given((A, 1))}, "an array of rank 2"),
    "query kernel of another size": ({"query_kernel": Given((A, D))}, "(7, 8)"),
    "key kernel of another size": ({"key_kernel": Given((D, 3))}, "(8, 3)"),
    "no query kernel": ({"query_kernel": None}, "8 and 7"),
    "integer key kernel": ({"key_kernel": Given((D, A), "int64")}, "int64"),
}

MULTIPLICATIVE = EVERYWHERE | {
    "score kernel of another size": ({"score_kernel": Given((D, 4))}, "(8, 4)"),
    "score kernel of another dtype": ({"score_kernel": Given((D, D), "float16")}, "float32 and float16"),
    "no score kernel between two sizes": ({"score_kernel": None, "key": Given((B, G, K, 4))}, "8 and 4"),
}

CASES = [
    pytest.param(operation, change, received, id=f"{operation}: {name}")
    for operation, table in {
        "attention": ATTENTION,
        "additive_attention": ADDITIVE,
        "multiplicative_attention": MULTIPLICATIVE,
    }.items()
    for name, (change, received) in table.items()
]


def message(operation: str, arguments: Mapping[str, Any]) -> str:
    """Return the message with which the specification rejects the shapes, dtypes and options of a call."""
    names = sorted(arguments, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    given = {name: arguments[name] for name in names if isinstance(arguments[name], Given)}
    arrays = {name: Described(x.shape, x.dtype) for name, x in given.items()}
    options = {name: x for name, x in arguments.items() if not isinstance(x, Given)}
    if lengths := arguments.get("key_lengths"):
        options["key_lengths"] = array(lengths).ravel().tolist()
    with pytest.raises(spec.SpecificationError) as error:
        getattr(attention_checks, f"check_{operation}")(operation, arrays, options)
    return str(error.value)


def array(given: Given) -> np.ndarray:
    return np.full(given.shape, given.value, given.dtype)


def refusal(operation: Any, arguments: Mapping[str, Any]) -> str:
    positional = [arguments[name] for name in ("query", "key", "value")]
    named = {name: argument for name, argument in arguments.items() if name not in ("query", "key", "value")}
    with pytest.raises(spec.SpecificationError) as error:
        operation(*positional, **named)
    return str(error.value)


@pytest.mark.parametrize(("operation", "change", "received"), CASES)
def test_a_room_refuses_in_the_words_of_the_spec(
    room: ModuleType, room_arrays: Framework, operation: str, change: dict[str, Any], received: str
) -> None:
    arguments = GOOD[operation] | change
    given = {name: room_arrays.make(array(x), x.dtype) if isinstance(x, Given) else x for name, x in arguments.items()}
    text = refusal(getattr(room, operation), given)
    assert text == message(operation, arguments)
    assert f"received {received}" in text


@pytest.mark.parametrize(("operation", "change", "received"), CASES)
def test_the_spec_says_what_was_received(operation: str, change: dict[str, Any], received: str) -> None:
    arguments = GOOD[operation] | change
    first, second, *shapes_line = message(operation, arguments).splitlines()
    assert first.startswith(f"{operation}: ")
    assert second == f"  received {received}"
    if any(isinstance(x, Given) and x.dtype not in DTYPES for x in arguments.values()):
        return  # the specification's own arrays have no such dtype
    given = {
        name: spec.Array(x.shape, array(x).ravel().tolist(), DTYPES[x.dtype]) if isinstance(x, Given) else x
        for name, x in arguments.items()
    }
    expected = [first, second.replace("float32", "real"), *shapes_line]
    assert refusal(getattr(spec, operation), given).splitlines() == expected


@pytest.mark.parametrize("operation", GOOD)
def test_the_good_call_is_accepted(room: ModuleType, room_arrays: Framework, operation: str) -> None:
    given = {name: room_arrays.make(array(x), x.dtype) for name, x in GOOD[operation].items()}
    output = getattr(room, operation)(given.pop("query"), given.pop("key"), given.pop("value"), **given)
    assert tuple(output.shape) == (B, H, Q, V)


@pytest.mark.parametrize("function", ["softmax", "log_sum_exp"])
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"scores": Given((Q, K), "int64")}, id="integer scores"),
        pytest.param({"scores": Given(())}, id="a single score"),
        pytest.param({"scores": Given((Q, K)), "visible": Given((Q, K))}, id="float visibility"),
        pytest.param(
            {"scores": Given((Q, K)), "visible": Given((Q, 4), "bool")}, id="visibility that does not broadcast"
        ),
        pytest.param({"scores": Given((Q, K)), "sinks": Given((Q,), "int64")}, id="integer sinks"),
        pytest.param({"scores": Given((Q, K)), "sinks": Given((K,))}, id="sinks that do not broadcast"),
    ],
)
def test_softmax_refuses_in_the_words_of_the_spec(
    room: ModuleType, room_arrays: Framework, function: str, arguments: dict[str, Given]
) -> None:
    described = {name: Described(given.shape, given.dtype) for name, given in arguments.items()}
    with pytest.raises(spec.SpecificationError) as expected:
        attention_checks.check_softmax(function, **described)
    given = {name: room_arrays.make(array(x), x.dtype) for name, x in arguments.items()}
    with pytest.raises(spec.SpecificationError) as error:
        getattr(room, function)(given.pop("scores"), **given)
    assert str(error.value) == str(expected.value)


@pytest.mark.parametrize("lengths", [Given((B,)), Given((B,), "int64", -1), Given((B,), "int64", K + 1)], ids=str)
def test_length_mask_refuses_in_the_words_of_the_spec(room: ModuleType, room_arrays: Framework, lengths: Given) -> None:
    values = array(lengths).tolist()
    described = Described(lengths.shape, lengths.dtype)

    def check() -> None:
        call_checks.check_call("length_mask", {"key_lengths": described, "key_length": K})
        attention_checks.check_key_lengths("length_mask", described, values, K)

    with pytest.raises(spec.SpecificationError) as expected:
        check()
    with pytest.raises(spec.SpecificationError) as error:
        room.length_mask(room_arrays.make(array(lengths), lengths.dtype), K)
    assert str(error.value) == str(expected.value)


@pytest.mark.parametrize("lengths", [[5, 3], [4, 6], [4]], ids=str)
def test_a_model_refuses_lengths_in_the_words_of_the_spec(
    room: ModuleType, room_arrays: Framework, lengths: list[int]
) -> None:
    """Padding may stand past the end of learned positions, a real token may not."""
    config = spec.ModelConfig.decoder(
        vocab=3, model=4, heads=1, layers=1, feedforward=4, positions=spec.Learned(length=4)
    )
    params, tokens = weights.init(config), np.zeros((2, 5), np.int64)
    specified = spec.Transformer(config, {name: spec.as_array(array.tolist()) for name, array in params.items()})
    with pytest.raises(spec.SpecificationError) as expected:
        specified(tokens.tolist(), lengths=lengths)
    model = room.Transformer(config, params)
    with pytest.raises(spec.SpecificationError) as error:
        model(room_arrays.make(tokens, "int64"), lengths=room_arrays.make(np.array(lengths), "int64"))
    assert str(error.value) == str(expected.value)
    model(room_arrays.make(tokens, "int64"), lengths=room_arrays.make(np.array([4, 3]), "int64"))


def test_a_row_without_a_place_has_no_last_one(room: ModuleType, room_arrays: Framework) -> None:
    config = spec.ModelConfig.decoder(vocab=3, model=4, heads=1, layers=1, feedforward=4)
    config = replace(config, head=spec.HeadConfig(kind="classifier", size=3, place="last"))
    params, tokens, lengths = weights.init(config), np.zeros((2, 5), np.int64), [5, 0]
    specified = spec.Transformer(config, {name: spec.as_array(array.tolist()) for name, array in params.items()})
    with pytest.raises(spec.SpecificationError) as expected:
        specified(tokens.tolist(), lengths=lengths)
    model, made = room.Transformer(config, params), room_arrays.make(tokens, "int64")
    given = {"lengths": room_arrays.make(np.array(lengths), "int64")}
    for call in (model, model.step):
        with pytest.raises(spec.SpecificationError) as error:
            call(made, **given)
        assert str(error.value) == str(expected.value)


@pytest.mark.parametrize("name", ["query", "key", "value", "bias"])
def test_a_visible_nan_reaches_what_the_spec_says(room: ModuleType, room_arrays: Framework, name: str) -> None:
    inputs = {key: np.linspace(-1, 1, array(x).size).reshape(x.shape) for key, x in QUERY_KEY_VALUE.items()}
    inputs["bias"] = np.zeros((B, H, Q, K))
    inputs[name][0, 0, 1, 0] = np.nan
    arrays = {key: room_arrays.make(values, "float64") for key, values in inputs.items()}
    output = room.attention(arrays.pop("query"), arrays.pop("key"), arrays.pop("value"), causal=True, **arrays)
    query, key, value, bias = (values.tolist() for values in inputs.values())
    truth = spec.attention(query, key, value, causal=True, bias=bias)
    expected = np.isnan(np.reshape(truth.values, truth.shape))
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(np.isnan(room_arrays.read(output)), expected)
