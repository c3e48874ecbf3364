"""How a layer comes by the tensors of the parameter tree, gives them back, and is written into a Keras file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from attention_ref import weights
from attention_ref.keras._arrays import Array, as_array, to_numpy
from attention_ref.spec.errors import SpecificationError, reject
from attention_ref.spec.parameters import Config, check_arrays, under
from attention_ref.spec.parameters import parameters as tree
from attention_ref.spec.records import Record, from_json, to_json

Given = Mapping[str, Any]


def given_or_drawn(operation: str, config: Config, parameters: Given | None) -> Given:
    """Give the parameters of a configuration: those given, or fresh ones.

    Raises:
        SpecificationError: for parameters that are not those of the configuration.
    """
    if parameters is None:
        return weights.init(config)
    named = parameters if isinstance(parameters, Mapping) else {}
    variables = [name for name, given in named.items() if isinstance(given, keras.Variable)]
    check_arrays(operation, config, parameters, shared=variables)
    return parameters


class Tensors(Mapping[str, Array]):
    """The variables of a layer by name; each is read as a tensor of the dtype that the layer computes in.

    Arguments:
        variables: name to variable.
        dtype: the dtype that the layer computes in.
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
    """A Keras layer that holds parameters of the one tree and is made of parts that do.

    Variables exist from the start, for every shape is known. Parameters that are given are copied in the dtype of the
    layer's policy; a `keras.Variable` is not copied but shared.

    Keras masks, which a layer such as `keras.layers.Masking` attaches to a tensor, are not read; to be given one is an
    error, for padding would be attended to. What may be attended to is said by `mask` and by lengths.
    """

    is_positionwise: ClassVar[bool] = False
    """Whether places do not meet in it: then it passes a Keras mask on."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the layer; see `call`."""
        given = keras.tree.flatten((arguments, options))
        if not self.is_positionwise and any(getattr(one, "_keras_mask", None) is not None for one in given):
            rule = "a mask that Keras attached to a tensor is not read; give lengths or a mask, and take it off"
            reject(type(self).__name__, rule, "a tensor with a Keras mask")
        try:
            return super().__call__(*arguments, **options)
        except SpecificationError as error:
            refusal = _as_raised(error)
        raise refusal  # not within the handler, where Python would chain it to Keras's

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:  # noqa: ARG002
        """Give the Keras mask of the result; the `mask` of a call is ours, which Keras would attach as its own."""
        return previous_mask if self.is_positionwise else None

    def parts(self) -> dict[str, Holder]:
        """Give the layers that hold the parameters under each scope."""
        return {}

    def part(self, kind: type[Holder], scope: str, config: Any, parameters: Given, *more: Any) -> Any:
        """Make the part that holds the parameters under a scope."""
        options = {"name": scope.replace(".", "_"), "dtype": self.dtype_policy}
        with keras.name_scope(self.name, caller=self):  # gives every variable a path of its own
            return kind(config, under(parameters, scope), *more, **options)

    def hold(self, parameters: Given) -> None:
        """Make variables of the parameters that are not those of a part, and the generator of dropout."""
        as_array(np.zeros((), self.variable_dtype))  # raises where the engine has no float64
        scopes = tuple(f"{scope}." for scope in self.parts())
        own = {name: parameters[name] for name in parameters if not name.startswith(scopes)}
        self.shared = [given for given in own.values() if isinstance(given, keras.Variable)]  # Keras tracks them so
        self.tensors = Tensors({name: self._variable(name, own[name]) for name in own}, self.compute_dtype)
        self.seed_generator = keras.random.SeedGenerator() if getattr(self.config, "dropout", 0.0) else None
        self.built = True

    def _variable(self, name: str, given: Any) -> keras.Variable:
        if isinstance(given, keras.Variable):
            return given
        return self.add_weight(
            name=name.replace(".", "_"),  # PyTorch allows no dot in it
            shape=tuple(given.shape),
            initializer=lambda shape, dtype: ops.convert_to_tensor(given, dtype=dtype),
        )

    def variables_by_name(self) -> dict[str, keras.Variable]:
        """Give the variables of this layer and of its parts, by their names in the parameter tree."""
        named = dict(self.tensors.variables)
        for scope, part in self.parts().items():
            named |= {f"{scope}.{name}": variable for name, variable in part.variables_by_name().items()}
        return named


class Configured(Holder):
    """A layer of its own: made of a configuration, which it is saved with."""

    record: ClassVar[type[Record]]
    """The type of the configuration."""

    def parameter_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Give the parameters: the names and shapes of `attention_ref.spec.parameters`, in its order, as NumPy arrays.

        It is not called `parameters`, for on the PyTorch engine a Keras layer is an `nn.Module`, which has a method of
        that name.
        """
        named = self.variables_by_name()
        return {name: to_numpy(named[name]) for name in tree(self.config)}

    def load_parameters(self, parameters: Given) -> None:
        """Replace all parameters.

        Arguments:
            parameters: name to array, exactly those of the configuration.

        Raises:
            SpecificationError: for parameters that are not those of the configuration; nothing is replaced then.
        """
        check_arrays(type(self).__name__, self.config, parameters)
        for name, variable in self.variables_by_name().items():
            if name in parameters:
                variable.assign(ops.convert_to_tensor(parameters[name], dtype=variable.dtype))

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` makes an equal layer of, as JSON; parameters are not in it."""
        return {**super().get_config(), "config": to_json(self.config)}

    @classmethod
    def from_config(cls, config: dict[str, Any], *more: Any) -> Configured:
        """Make a layer of what `get_config` gave."""
        return super().from_config({**config, "config": from_json(cls.record, config["config"])}, *more)
