"""Aggregators by name."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import keras

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.names import unknown_name_error

_AggregatorType = TypeVar("_AggregatorType", bound=type[Aggregator])

_REGISTRY: dict[str, type[Aggregator]] = {}


def register(name: str) -> Callable[[_AggregatorType], _AggregatorType]:
    """Class decorator: makes an aggregator known to `get` and to Keras.

    Args:
        name: str, unique.

    Returns:
        The decorator.

    Raises:
        ValueError: if the name is taken.
    """

    def decorate(cls: _AggregatorType) -> _AggregatorType:
        if name in _REGISTRY:
            raise ValueError(
                f"`name` must be unique. Received: name={name!r}, "
                f"taken by {_REGISTRY[name].__name__}."
            )
        _REGISTRY[name] = cls
        return keras.saving.register_keras_serializable(package="tf_mtl")(cls)

    return decorate


def names(kind: Literal["loss", "gramian", "rows"] | None = None) -> list[str]:
    """Registered names in alphabetical order.

    Args:
        kind: only those of this kind. None: all.

    Returns:
        List of str.

    Raises:
        ValueError: if there is no such kind.
    """
    kinds = ("loss", "gramian", "rows")
    if kind is not None and kind not in kinds:
        raise unknown_name_error("kind", kind, kinds)
    return sorted(
        name for name, cls in _REGISTRY.items() if kind is None or cls.kind == kind
    )


def get_class(name: str) -> type[Aggregator]:
    """The class that is registered under a name.

    Args:
        name: str.

    Returns:
        Subclass of `Aggregator`.

    Raises:
        ValueError: if the name is unknown.
    """
    if name.replace("_", "") == "adatask":
        raise ValueError(
            "AdaTask keeps accumulators of each task, so it is an optimizer. Received: "
            f"identifier={name!r}. Use optimizer=tf_mtl.optimizers.AdaTask(...), or "
            "--optimizer=ada_task."
        )
    if name not in _REGISTRY:
        raise unknown_name_error("identifier", name, names())
    return _REGISTRY[name]


def get(
    identifier: str | Aggregator | dict[str, Any] | None, **kwargs: Any
) -> Aggregator:
    """Makes an aggregator from its name.

    Args:
        identifier: a registered name, the dict that
            `keras.saving.serialize_keras_object` gives, an aggregator, returned as
            it is, or None for equal weighting.
        **kwargs: constructor arguments, for a name or None.

    Returns:
        `Aggregator`.

    Raises:
        ValueError: if the name is unknown, arguments come with an aggregator or dict,
            or a method gets a `preference` that takes none.
        TypeError: if `identifier` is none of the above.

    Example:
        >>> get("gradcraft", tau=0.5).tau
        0.5
    """
    if identifier is None:
        identifier = "ew"
    if isinstance(identifier, str):
        cls = get_class(identifier)
        if kwargs.get("preference") is not None and not cls.uses_preference:
            takers = [name for name, each in _REGISTRY.items() if each.uses_preference]
            raise ValueError(
                f"`preference` has no meaning in {identifier!r}. Received: preference="
                f"{kwargs['preference']}. Use `Task(weight=...)`, which scales a loss, "
                f"or one of {sorted(takers)}."
            )
        return cls(**kwargs)
    if kwargs:
        raise ValueError(
            "Arguments can only be given with a name. Received: "
            f"identifier={identifier!r}, arguments {sorted(kwargs)}."
        )
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if not isinstance(identifier, Aggregator):
        raise TypeError(
            "`identifier` must be a name, an Aggregator, its config or None. "
            f"Received: identifier={identifier!r}."
        )
    return identifier
