"""Trunks and pooling layers by name."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args

import keras

from tf_mtl.names import unknown_name_error

Role = Literal["trunk", "pooling"]
_REGISTRY: dict[str, dict[str, type]] = {role: {} for role in get_args(Role)}
Layer = TypeVar("Layer", bound=type)


def register(role: Role, name: str) -> Callable[[Layer], Layer]:
    """Class decorator that makes a layer known by a name, in one role.

    Args:
        role: the argument of a model that takes such layers.
        name: str, unique.

    Returns:
        The decorator.

    Raises:
        ValueError: if the name is taken.
    """

    def decorate(cls: Layer) -> Layer:
        taken = _REGISTRY[role].get(name)
        if taken is not None:
            raise ValueError(
                f"`name` must be unique. Received: name={name!r}, taken by "
                f"{taken.__name__}."
            )
        _REGISTRY[role][name] = cls
        return cls

    return decorate


def names(role: Role) -> list[str]:
    """Names of the layers that an argument of a model takes, sorted."""
    return sorted(_REGISTRY[role])


def get(role: Role, identifier: Any) -> keras.layers.Layer:
    """Makes the layer that is meant by a name, as a command line can give it.

    Args:
        role: `"trunk"` or `"pooling"`, the argument that the layer is given for.
        identifier: a registered name; a dict of one name and its arguments, such as
            `{"cross_network": {"num_layers": 3}}`; the dict that
            `keras.saving.serialize_keras_object` gives; or a Keras layer, returned as
            it is.

    Returns:
        Keras layer.

    Raises:
        ValueError: if the name or an argument is unknown.
        TypeError: if `identifier` is none of the above.

    Example:
        >>> get("trunk", {"cross_network": {"num_layers": 3}}).num_layers
        3
    """
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        identifier = keras.saving.deserialize_keras_object(dict(identifier))
    if isinstance(identifier, keras.layers.Layer):
        return identifier
    if isinstance(identifier, str):
        identifier = {identifier: {}}
    if not (
        isinstance(identifier, Mapping)
        and len(identifier) == 1
        and isinstance(next(iter(identifier.values())), Mapping)
    ):
        raise TypeError(
            f"`{role}` must be a Keras layer, its config, one of the names "
            f"{names(role)}, or a dict of a name and its arguments: "
            f"{{'{names(role)[0]}': {{...}}}}. Received: {role}={identifier!r}."
        )
    [(name, arguments)] = identifier.items()
    if name not in _REGISTRY[role]:
        raise unknown_name_error(role, name, names(role))
    return _REGISTRY[role][name](**arguments)
