"""Base classes of layers: their parameters from the parameter tree, and serialisation in Keras files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from attention_ref import weights
from attention_ref.keras._arrays import Array, as_array, is_tensor, to_numpy
from attention_ref.spec import checks
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.errors import SpecificationError, reject
from attention_ref.spec.parameters import Config, check_arrays, under
from attention_ref.spec.parameters import parameters as tree
from attention_ref.spec.records import Record, from_json, to_json
from attention_ref.spec.shapes import check_implementation

Given = Mapping[str, Any]


def init_or_check(operation: str, config: Config, parameters: Given | None) -> Given:
    """Check the given parameters of a configuration, or initialise them.

    Raises:
        SpecificationError: for parameters that do not match the configuration.
    """
    if parameters is None:
        return weights.init(config)
    named = parameters if isinstance(parameters, Mapping) else {}
    variables = [name for name, given in named.items() if isinstance(given, keras.Variable)]
    check_arrays(operation, config, parameters, shared=variables)
    return parameters


class Tensors(Mapping[str, Array]):
    """The variables of a layer by name, read as tensors in the layer's compute dtype.

    Arguments:
        variables: name to variable.
        dtype: the compute dtype of the layer.
    """

    def __init__(self, variables: Mapping[str, keras.Variable], dtype: str) -> None:
        self.variables, self.dtype = variables, dtype

    def __getitem__(self, name: str) -> Array:
        return ops.cast(ops.convert_to_tensor(self.variables[name]), self.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)


def _as_raised(error: BaseException) -> BaseException:
    """Return the error that Keras wrote its own words and a dump of the arguments around."""
    while isinstance(error.__context__, SpecificationError):
        error = error.__context__
    return error


class Holder(keras.layers.Layer):
    """A Keras layer with parameters of the parameter tree and with sublayers that have others.

    Variables exist from construction, because every shape is known. Given parameters are copied to the variable dtype
    of the layer's policy; a `keras.Variable` is shared instead.

    Keras masks, which a layer such as `keras.layers.Masking` attaches to a tensor, are not supported, and are an error,
    because padding would be attended to. Use `mask` and lengths.
    """

    is_positionwise: ClassVar[bool] = False
    """Whether the layer acts on each position alone, and so passes a Keras mask on."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the layer; see `call`."""
        given = keras.tree.flatten((arguments, options))
        if not self.is_positionwise and any(getattr(one, "_keras_mask", None) is not None for one in given):
            rule = "masks that Keras attaches to tensors are not supported; remove it and pass lengths or a mask"
            reject(type(self).__name__, rule, "a tensor with a Keras mask")
        arrays = dict(zip(signature(self.call).parameters, arguments, strict=False))
        named = arrays | options if len(arrays) == len(arguments) else {}  # Python refuses what is too much
        read = {
            name: checks.converted(type(self).__name__, name, one, as_array)
            for name, one in named.items()
            if _is_unreadable(one, is_array=name in arrays)
        }
        arguments = tuple(read.get(name, one) for name, one in arrays.items()) if named else arguments
        try:
            return super().__call__(*arguments, **options)
        except SpecificationError as error:
            refusal = _as_raised(error)
        raise refusal  # not within the handler, where Python would chain it to Keras's

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:  # noqa: ARG002
        """Return the Keras mask of the result, in place of the argument `mask`, which Keras would attach."""
        return previous_mask if self.is_positionwise else None

    def parts(self) -> dict[str, Holder]:
        """Return the sublayers by the scopes of their parameters."""
        return {}

    def part(self, kind: type[Holder], scope: str, config: Any, parameters: Given, *more: Any, **options: Any) -> Any:
        """Return a sublayer with the parameters under a scope."""
        options |= {"name": scope.replace(".", "_"), "dtype": self.dtype_policy}
        with keras.name_scope(self.name, caller=self):  # so that every variable has its own path
            return kind(config, under(parameters, scope), *more, **options)

    def register(self, parameters: Given) -> None:
        """Create variables for the parameters that no sublayer has, and the seed generator of dropout."""
        as_array(np.zeros((), self.variable_dtype))  # raises if the variable dtype is float64 and the engine has none
        scopes = tuple(f"{scope}." for scope in self.parts())
        own = {name: parameters[name] for name in parameters if not name.startswith(scopes)}
        self.shared_variables = [
            given for given in own.values() if isinstance(given, keras.Variable)
        ]  # Keras tracks them so
        self.tensors = Tensors({name: self._variable(name, own[name]) for name in own}, self.compute_dtype)
        self.seed_generator = keras.random.SeedGenerator() if getattr(self.config, "dropout", 0.0) else None
        self.built = True

    def _variable(self, name: str, given: Any) -> keras.Variable:
        if isinstance(given, keras.Variable):
            return given
        return self.add_weight(
            name=name.replace(".", "_"),  # PyTorch allows no dot in a name
            shape=tuple(given.shape),
            initializer=lambda shape, dtype: ops.convert_to_tensor(given, dtype=dtype),
        )

    def variables_by_name(self) -> dict[str, keras.Variable]:
        """Return the variables of this layer and of its sublayers, by their names in the parameter tree."""
        named = dict(self.tensors.variables)
        for scope, part in self.parts().items():
            named |= {f"{scope}.{name}": variable for name, variable in part.variables_by_name().items()}
        return named


class Configured(Holder):
    """A public layer: built from a configuration, with which it is saved."""

    record: ClassVar[type[Record]]
    """The type of the configuration."""

    def parameter_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the parameters as NumPy arrays, with the names, shapes and order of `attention_ref.spec.parameters`.

        It is not named `parameters`, because on the PyTorch engine a Keras layer is an `nn.Module`, which has a method
        of that name.
        """
        named = self.variables_by_name()
        return {name: to_numpy(named[name]) for name in tree(self.config)}

    def load_parameters(self, parameters: Given) -> None:
        """Replace all parameters.

        Arguments:
            parameters: name to array, exactly those of the configuration.

        Raises:
            SpecificationError: for parameters that do not match the configuration; then none is replaced.
        """
        check_arrays(type(self).__name__, self.config, parameters)
        for name, variable in self.variables_by_name().items():
            if name in parameters:
                variable.assign(ops.convert_to_tensor(parameters[name], dtype=variable.dtype))

    def get_config(self) -> dict[str, Any]:
        """Return the configuration as JSON for `from_config`, without parameters."""
        return {**super().get_config(), "config": to_json(self.config)}

    @classmethod
    def from_config(cls, config: dict[str, Any], *more: Any) -> Configured:
        """Return a layer from the result of `get_config`."""
        return super().from_config({**config, "config": from_json(cls.record, config["config"])}, *more)


class Attending(Configured):
    """A public layer with attention inside.

    Arguments:
        implementation: the path of the attention, which Keras files keep beside the configuration.
        options: those of `keras.layers.Layer`.
    """

    def __init__(self, *, implementation: str, **options: Any) -> None:
        super().__init__(**options)
        check_implementation(type(self).__name__, implementation)
        self.implementation = implementation

    def get_config(self) -> dict[str, Any]:
        """Return the configuration and the path of the attention as JSON for `from_config`, without parameters."""
        return {**super().get_config(), "implementation": self.implementation}


_READABLE = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), *DTYPES)
"""The dtypes of NumPy arrays that every engine converts."""


def _is_unreadable(given: Any, *, is_array: bool) -> bool:
    """Return whether Keras, which converts arguments before the call, might raise an error of its own."""
    if given is None or is_tensor(given) or isinstance(given, keras.Variable):
        return False
    if isinstance(given, (np.ndarray, np.generic)):
        return given.dtype.name not in _READABLE
    return is_array or isinstance(given, (str, bytes)) or (hasattr(given, "__array__") and not isinstance(given, type))
