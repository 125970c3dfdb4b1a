"""Parts of a model that are given as objects, by their arguments, or by a config."""

import inspect
from collections.abc import Mapping
from typing import Any

import keras


def revived(argument: str, value: Any, cls: type, **defaults: Any) -> Any:
    """The object that is given as such, by its arguments, or by its Keras config.

    Args:
        argument: name of the argument, for messages.
        value: what was given. True: an object with default arguments. False or None:
            no object.
        cls: class of the object.
        **defaults: arguments that need not be given.

    Returns:
        object or None.

    Raises:
        ValueError: if a dict names unknown arguments.
        TypeError: if `value` is none of the above.
    """
    if value is None or value is False:
        return None
    if value is True:
        value = {}
    if isinstance(value, Mapping) and "class_name" in value:
        value = keras.saving.deserialize_keras_object(value)
    elif isinstance(value, Mapping):
        known = sorted(inspect.signature(cls).parameters.keys() - {"kwargs"})
        unknown = sorted(value.keys() - known)
        if unknown:
            raise ValueError(
                f"`{argument}` must name arguments of {cls.__name__}: {known}. "
                f"Received: {unknown}."
            )
        value = cls(**{**defaults, **value})
    if not isinstance(value, cls):
        raise TypeError(
            f"`{argument}` must be a {cls.__name__}, a dict of its arguments, its "
            f"config, True, or None for none. Received: {value!r}."
        )
    return value


def config_of(part: Any) -> dict[str, Any]:
    """Keras config of a part, which the model builds anew, under its own name."""
    config = keras.saving.serialize_keras_object(part)
    return {key: value for key, value in config.items() if key != "build_config"}
