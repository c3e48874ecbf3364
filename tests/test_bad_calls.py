"""Every call that the table of operations rules out is refused with the same words by the specification and by every
backend: they begin with the operation, state the rule, what was received, and the shapes of all arrays.

Every case changes one good call, and says what the message must state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest

from attention_ref import spec
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec import call_checks, checks
from attention_ref.spec.config import Activation
from attention_ref.spec.errors import SpecificationError
from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.shapes import Described

KINDS = {"float32": "real", "bool": "bool", "int64": "integer"}
"""The names of the dtypes in the specification."""

NAN, INF = float("nan"), float("inf")
HUGE, DIGITS = 10**400, "an integer of 401 digits"


class Given(NamedTuple):
    """An array of a case; its values are 0."""

    shape: tuple[int, ...]
    dtype: str = "float32"


class Bad(NamedTuple):
    """One argument of a good call replaced, and the rule and what was received, as the message must state them."""

    argument: str
    value: Any
    rule: str
    received: str


def ints(*shape: int) -> Given:
    return Given(shape, "int64")


GOOD: dict[str, dict[str, Any]] = {
    "linear": {"array": Given((2, 3, 8)), "kernel": Given((8, 4)), "bias": Given((4,)), "inputs": 1},
    "layer_norm": {
        "array": Given((2, 8)),
        "gain": Given((8,)),
        "bias": Given((8,)),
        "eps": 1e-5,
        "gain_offset": 0.0,
    },
    "rms_norm": {"array": Given((2, 8)), "gain": Given((8,)), "eps": 1e-5, "gain_offset": 0.0},
    "activate": {"array": Given((2, 8)), "name": "relu"},
    "rotate": {"array": Given((2, 4, 3, 8)), "positions": ints(3), "config": spec.Rotary()},
    "sinusoidal_positions": {"positions": ints(3), "size": 8, "config": spec.Sinusoid(), "like": Given(())},
    "alibi_bias": {"heads": 4, "query_length": 3, "key_length": 5, "query_offset": 0, "like": Given(())},
    "relative_bias": {
        "table": Given((32, 4)),
        "query_length": 3,
        "key_length": 5,
        "config": spec.RelativeBias(),
        "query_offset": 0,
    },
}

FUNCTIONS: dict[str, dict[str, Any]] = {
    "causal_mask": {"query_length": 3, "key_length": 5, "query_offset": 0},
    "window_mask": {"query_length": 3, "key_length": 5, "window": (1, None), "query_offset": 0},
    "length_mask": {"key_lengths": ints(2), "key_length": 5},
    "rotary_frequencies": {"dimension": 8, "config": spec.Rotary()},
    "rotary_amplitude": {"config": spec.Rotary()},
    "alibi_slopes": {"heads": 4},
    "relative_bucket": {"distances": ints(3), "config": spec.RelativeBias()},
    **{name: {"x": Given((2, 8))} for name in ("relu", "relu_squared", "gelu", "gelu_tanh", "quick_gelu", "silu")},
    "clipped": {"array": Given((2, 8)), "limit": 2.0, "one_sided": False},
    "dropout": {"array": Given((2, 8)), "dropout_mask": Given((2, 8), "bool"), "rate": 0.5},
    "count_without": {"tokens": ints(2, 3), "skipped": 0, "starts": ints(2)},
}
"""Good calls of the functions that are steps of the operations."""

FLOATS = "must be float16, bfloat16, float32 or float64"


def real(name: str, shape: tuple[int, ...], first: str = "") -> Iterator[Bad]:
    """Values that are not arrays of real numbers; `first` is the array whose dtype it shares."""
    for dtype in ("int64", "bool", "complex64"):
        yield Bad(name, Given(shape, dtype), f"{name} {FLOATS}", dtype)
    for text in ("text", ["text"], {"a": 1}, [[1.0, 2.0], [1.0]]):
        yield Bad(name, text, f"{name} must be an array of numbers", type(text).__name__)
    if first:
        for dtype in ("float16", "float64"):
            yield Bad(name, Given(shape, dtype), f"{first} and {name} must have the same dtype", f"float32 and {dtype}")


def number(name: str, limits: str = "", low: float | None = None) -> Iterator[Bad]:
    values = ((NAN, "nan"), (INF, "inf"), (-INF, "-inf"), (True, "True"), ("1", "'1'"), (HUGE, DIGITS))
    for value, received in values:
        yield Bad(name, value, f"{name} must be a finite number{limits}", received)
    yield Bad(name, [1.0], f"{name} must be a finite number{limits}", "[1.0]")
    yield Bad(name, 1j, f"{name} must be a finite number{limits}", "1j")
    yield Bad(name, None, f"{name} must be given", "None")
    if low is not None:
        yield Bad(name, low, f"{name} must be a finite number{limits}", repr(low))


def count(name: str, least: int) -> Iterator[Bad]:
    rule = f"{name} must be an integer of at least {least}"
    values = ((least - 1, f"{least - 1}"), (8.0, "8.0"), (True, "True"), ("8", "'8'"), (HUGE, DIGITS))
    for value, received in values:
        yield Bad(name, value, rule, received)
    yield Bad(name, [8], rule, "[8]")
    yield Bad(name, None, f"{name} must be given", "None")


def integers(name: str) -> Iterator[Bad]:
    for dtype in ("float32", "bool"):
        yield Bad(name, Given((3,), dtype), f"{name} must be integers", dtype)
    for value in (2**63, -(2**63) - 1):
        yield Bad(name, value, f"{name} must lie between -2^63 and 2^63 - 1", str(value))
    yield Bad(name, HUGE, f"{name} must lie between -2^63 and 2^63 - 1", DIGITS)
    yield Bad(name, "text", f"{name} must be an array of numbers", "str")
    yield Bad(name, None, f"{name} must be given", "None")


def record(kind: str) -> Iterator[Bad]:
    for value in ({"base": 1.0}, spec.Norm("rms", eps=1.0)):
        yield Bad("config", value, f"config must be a {kind}", type(value).__name__)
    yield Bad("config", None, "config must be given", "None")


def norm(name: str, shape: tuple[int, ...], first: str = "array") -> Iterator[Bad]:
    yield from real(name, shape, first)
    for size in (1, 7):
        yield Bad(name, Given((size,)), f"array and {name} must have the same model size m", f"8 and {size}")
    yield Bad(name, Given((2, 8)), f"{name} must have the shape (m,)", "(2, 8)")
    yield Bad(name, Given(()), f"{name} must have the shape (m,)", "()")


def normalised() -> Iterator[Bad]:
    yield from real("array", (2, 8))
    yield from norm("gain", (8,))
    yield from number("eps", " of at least 0", -1e-5)
    yield from number("gain_offset")
    yield Bad("array", Given(()), "array must have the shape (..., m)", "()")
    yield Bad("array", None, "array must be given", "None")
    yield Bad("gain", None, "gain must be given", "None")


BAD: dict[str, list[Bad]] = {
    "linear": [
        *real("array", (2, 3, 8)),
        *real("kernel", (8, 4), "array"),
        *real("bias", (4,), "array"),
        *count("inputs", 1),
        Bad("array", None, "array must be given", "None"),
        Bad("kernel", None, "kernel must be given", "None"),
        Bad("array", Given(()), "array must have the shape (..., m)", "()"),
        Bad("array", Given((2, 3, 7)), "array and kernel must have the same model size m", "7 and 8"),
        Bad("kernel", Given((4, 8)), "array and kernel must have the same model size m", "8 and 4"),
        Bad("kernel", Given((8,)), "kernel must have more axes than the 1 that it contracts", "a kernel of rank 1"),
        Bad("inputs", 2, "kernel must have more axes than the 2 that it contracts", "a kernel of rank 2"),
        Bad("kernel", Given((8, 2, 4)), "bias must have the shape (f,)", "(4,)"),
        Bad("bias", Given((8,)), "kernel and bias must have the same feed-forward size f", "4 and 8"),
        Bad("bias", Given((1, 4)), "bias must have the shape (f,)", "(1, 4)"),
        Bad("bias", Given((1,)), "kernel and bias must have the same feed-forward size f", "4 and 1"),
    ],
    "layer_norm": [*normalised(), *norm("bias", (8,))],
    "rms_norm": [*normalised()],
    "activate": [
        *real("array", (2, 8)),
        Bad("array", None, "array must be given", "None"),
        Bad("name", "mish", f"name must be {' or '.join(get_args(Activation))}", "'mish'"),
        Bad("name", ["relu"], "name must be relu or relu_squared or gelu", "['relu']"),
        Bad("name", 1, "name must be relu or relu_squared or gelu", "1"),
        Bad("name", None, "name must be given", "None"),
    ],
    "rotate": [
        *real("array", (2, 4, 3, 8)),
        *integers("positions"),
        *record("Rotary"),
        Bad("array", None, "array must be given", "None"),
        Bad("array", Given((4, 3, 8)), "array must have the shape (b, h, q, d)", "(4, 3, 8)"),
        Bad("array", Given((2, 4, 3, 7)), "without a rotary dimension the head size d must be even", "7"),
        Bad("positions", ints(1), "array and positions must have the same query length q", "3 and 1"),
        Bad("positions", ints(4), "array and positions must have the same query length q", "3 and 4"),
        Bad("positions", ints(), "positions must have the shape (q,) or (b, q)", "()"),
        Bad("positions", ints(1, 3), "array and positions must have the same batch b", "2 and 1"),
        Bad("positions", ints(2, 3, 1), "positions must have the shape (q,) or (b, q)", "(2, 3, 1)"),
        Bad("config", spec.Rotary(dimension=10), "the rotary dimension must be at most the head size d", "10 and 8"),
    ],
    "sinusoidal_positions": [
        *integers("positions"),
        *count("size", 2),
        *record("Sinusoid"),
        *real("like", ()),
        Bad("size", 7, "size must be even and at least 2", "7"),
    ],
    "alibi_bias": [
        *count("heads", 1),
        *count("query_length", 0),
        *count("key_length", 0),
        *integers("query_offset"),
        *real("like", ()),
        Bad("query_offset", ints(1, 2), "query_offset must have the shape () or (b,)", "(1, 2)"),
    ],
    "relative_bias": [
        *real("table", (32, 4)),
        *count("query_length", 0),
        *count("key_length", 0),
        *record("RelativeBias"),
        *integers("query_offset"),
        Bad("table", Given((31, 4)), "table must have a row for each bucket u of config", "31 and 32"),
        Bad("table", Given((32,)), "table must have the shape (u, h)", "(32,)"),
        Bad("query_offset", ints(1, 2), "query_offset must have the shape () or (b,)", "(1, 2)"),
    ],
}

PAIR = "window must be a pair (left, right) of distances of at least 0, None where open"

BAD_OF_FUNCTIONS: dict[str, list[Bad]] = {
    "causal_mask": [*count("query_length", 0), *count("key_length", 0), *integers("query_offset")],
    "window_mask": [
        *count("query_length", 0),
        *count("key_length", 0),
        *integers("query_offset"),
        *(Bad("window", value, PAIR, repr(value)) for value in (1, (1,), (-1, 0), (1.0, 0), "ab")),
        Bad("window", None, "window must be given", "None"),
    ],
    "length_mask": [*integers("key_lengths"), *count("key_length", 0)],
    "rotary_frequencies": [
        *count("dimension", 2),
        *record("Rotary"),
        Bad("dimension", 3, "dimension must be even", "3"),
    ],
    "rotary_amplitude": [*record("Rotary")],
    "alibi_slopes": [*count("heads", 1)],
    "relative_bucket": [*integers("distances"), *record("RelativeBias")],
    **{name: [*real("x", (2, 8))] for name in ("relu", "relu_squared", "gelu", "gelu_tanh", "quick_gelu", "silu")},
    "clipped": [
        *real("array", (2, 8)),
        *number("limit", " above 0", 0.0),
        Bad("one_sided", 1, "one_sided must be True or False", "1"),
    ],
    "dropout": [
        *real("array", (2, 8)),
        *(bad for bad in number("rate") if bad.value is None),
        Bad("dropout_mask", Given((2, 8)), "dropout_mask must be boolean", "float32"),
        Bad("dropout_mask", Given((2, 7), "bool"), "dropout_mask must broadcast to array", "(2, 7)"),
        Bad("rate", 1.0, "rate must be a finite number of at least 0 and below 1", "1.0"),
        Bad("rate", -0.5, "rate must be a finite number of at least 0 and below 1", "-0.5"),
    ],
    "count_without": [
        *integers("tokens"),
        *(bad for bad in integers("starts") if bad.argument == "starts"),
        *(bad for bad in count("skipped", 0) if bad.value != -1 and "given" in bad.rule),
    ],
}

GOOD_CALLS = GOOD | FUNCTIONS
OF_ROOMS = [
    pytest.param(operation, bad, id=f"{operation}: {bad.argument} {i}")
    for operation, table in (BAD | BAD_OF_FUNCTIONS).items()
    for i, bad in enumerate(table)
]

CASES = [
    pytest.param(operation, bad, id=f"{operation}: {bad.argument} {i}")
    for operation, table in BAD.items()
    for i, bad in enumerate(table)
]


def call(function: Callable[..., Any], operation: str, arguments: Mapping[str, Any]) -> Any:
    positional = [argument.name for argument in call_checks.CHECKED[operation].positional if argument.name in arguments]
    named = {name: value for name, value in arguments.items() if name not in positional}
    return function(*(arguments[name] for name in positional), **named)


def refusal(function: Callable[..., Any], operation: str, arguments: Mapping[str, Any]) -> str:
    with pytest.raises(SpecificationError) as error:
        call(function, operation, arguments)
    return str(error.value)


def made(arguments: Mapping[str, Any], make: Callable[[Given], Any]) -> dict[str, Any]:
    return {name: make(value) if isinstance(value, Given) else value for name, value in arguments.items()}


def room_array(arrays: Framework) -> Callable[[Given], Any]:
    return lambda given: arrays.make(np.zeros(given.shape, given.dtype), given.dtype)


def spec_array(given: Given) -> spec.Array:
    zero: Any = {"float32": 0.0, "bool": False, "int64": 0}[given.dtype]
    return spec.Array(given.shape, [zero] * int(np.prod(given.shape)), KINDS[given.dtype])


def expected_shapes(operation: str, arguments: Mapping[str, Any]) -> str:
    """Return the last line of the message: the arrays of one axis or more in the order of the table."""
    ordered = [name for name, _ in checks.ARRAYS[operation] if isinstance(arguments.get(name), Given)]
    shapes = [f"{name} {arguments[name].shape}" for name in ordered if arguments[name].shape]
    return ", ".join(shapes)


def test_there_are_enough_bad_calls() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize(("operation", "bad"), OF_ROOMS)
def test_a_room_refuses(room: ModuleType, room_arrays: Framework, operation: str, bad: Bad) -> None:
    arguments = GOOD_CALLS[operation] | {bad.argument: bad.value}
    text = refusal(getattr(room, operation), operation, made(arguments, room_array(room_arrays)))
    first, second, *last = text.splitlines()
    assert first.startswith(f"{operation}: {bad.rule}")
    assert second == f"  received {bad.received}"
    is_array_of_no_numbers = "array of numbers" in bad.rule or "2^63" in bad.rule
    if not is_array_of_no_numbers:
        shapes = expected_shapes(operation, arguments)
        assert last == ([f"  {shapes}"] if shapes else [])


@pytest.mark.parametrize(("operation", "bad"), CASES)
def test_the_specification_refuses_in_the_same_words(operation: str, bad: Bad) -> None:
    if isinstance(bad.value, Given) and bad.value.dtype not in KINDS:
        pytest.skip(f"the specification has no {bad.value.dtype}")
    if bad.argument == "like":
        pytest.skip("the specification computes in any type of number")
    arguments = GOOD[operation] | {bad.argument: bad.value}
    arguments = {name: 1.0 if name == "like" else value for name, value in arguments.items()}
    text = refusal(OPERATIONS[operation].function, operation, made(arguments, spec_array))
    first, second, *_ = text.splitlines()
    assert first.startswith(f"{operation}: {bad.rule}")
    received = KINDS.get(bad.received, bad.received)
    assert second == f"  received {received}"


@pytest.mark.parametrize("operation", GOOD_CALLS)
def test_the_good_call_is_accepted(room: ModuleType, room_arrays: Framework, operation: str) -> None:
    call(getattr(room, operation), operation, made(GOOD_CALLS[operation], room_array(room_arrays)))


@pytest.mark.parametrize("operation", GOOD)
def test_the_good_call_is_accepted_by_the_specification(operation: str) -> None:
    arguments = {name: 1.0 if name == "like" else value for name, value in GOOD[operation].items()}
    call(OPERATIONS[operation].function, operation, made(arguments, spec_array))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_calls_are_remembered_by_their_dtypes(dtype: str) -> None:
    """A call that passed must not let one of another dtype, or a true one in place of 1, pass."""
    given = {"array": Described((2, 8), dtype), "gain": Described((8,), dtype), "eps": 1, "gain_offset": 0}
    call_checks.check_call_once("rms_norm", given)
    for change in ({"gain": Described((8,), "float64")}, {"eps": True}, {"gain": Described((7,), dtype)}):
        with pytest.raises(SpecificationError):
            call_checks.check_call_once("rms_norm", given | change)


class Explodes:
    """Raises an error of its own when it is read."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise OSError("a file is gone")


QUERY, KEY = Given((2, 4, 3, 8)), Given((2, 4, 5, 8))
ATTENTION = {"query": QUERY, "key": KEY, "value": KEY}
NO_FLAG, NO_TAP = "must be True or False", "tap must be a function of a name and an array, or None"
OF_ATTENTION = [
    *(
        Bad(name, value, f"{name} {NO_FLAG}", repr(value))
        for name in ("return_weights", "return_log_sum_exp", "causal")
        for value in (1, None, "yes")
    ),
    *(Bad("tap", value, NO_TAP, type(value).__name__) for value in (1, "print", [])),
    *(Bad(name, None, f"{name} must be given", "None") for name in ("query", "key", "value")),
    *(
        Bad(name, [[1.0, 2.0], [1.0]], f"{name} must be an array of numbers", "list")
        for name in ("query", "bias", "mask", "key_lengths", "query_offset", "sinks")
    ),
    *(
        Bad(name, Explodes(), f"{name} must be an array of numbers", "Explodes")
        for name in ("key", "bias", "mask", "key_lengths", "query_offset", "sinks")
    ),
]


@pytest.mark.parametrize("bad", OF_ATTENTION, ids=lambda bad: f"{bad.argument} {bad.received}")
@pytest.mark.parametrize("implementation", ["auto", "reference"])
def test_attention_refuses_what_it_cannot_read(
    room: ModuleType, room_arrays: Framework, implementation: str, bad: Bad
) -> None:
    arguments = made(ATTENTION | {bad.argument: bad.value}, room_array(room_arrays))
    with pytest.raises(SpecificationError) as error:
        call(room.attention, "attention", arguments | {"implementation": implementation})
    first, second, *_ = str(error.value).splitlines()
    assert first.startswith(f"attention: {bad.rule}")
    assert second == f"  received {bad.received}"


VISIBLE = {"mask": Given((2, 1, 3, 5), "bool"), "bias": Given((3, 5)), "causal": True, "window": (1, 1)}
OF_VISIBLE_KEYS = [
    *(
        Bad("shape", value, "shape must be (b,h,q,k), sizes of at least 0", repr(value))
        for value in (None, "ab", (2, 3), (2, 1, -3, 5), (2, 1, 3.0, 5), (True, 1, 3, 5))
    ),
    Bad("mask", QUERY, "mask must be boolean", "float32"),
    Bad("mask", Given((4, 5), "bool"), "mask must broadcast to (2, 1, 3, 5)", "(4, 5)"),
    Bad("bias", ints(3, 5), "bias must be float16, bfloat16, float32 or float64", "int64"),
    Bad("causal", 1, "causal must be True or False", "1"),
    Bad("window", (1,), PAIR, "(1,)"),
    Bad("key_lengths", [6, 0], "key_lengths must lie between 0 and the key length k = 5", "6"),
    Bad("query_offset", 0.5, "query_offset must be an integer or an array of integers", "float"),
]


@pytest.mark.parametrize("bad", OF_VISIBLE_KEYS, ids=lambda bad: f"{bad.argument} {bad.received}")
def test_visible_keys_refuses(room: ModuleType, room_arrays: Framework, bad: Bad) -> None:
    arguments = made({"shape": (2, 1, 3, 5)} | VISIBLE | {bad.argument: bad.value}, room_array(room_arrays))
    with pytest.raises(SpecificationError) as error:
        room.visible_keys(arguments.pop("shape"), **arguments)
    first, second, *_ = str(error.value).splitlines()
    assert first.startswith(f"visible_keys: {bad.rule}")
    assert second.startswith(f"  received {bad.received}")
