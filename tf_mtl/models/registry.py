"""Architectures by name."""

from collections.abc import Callable
from typing import Any, TypeVar

from tf_mtl.names import unknown_name_error

_REGISTRY: dict[str, type] = {}
Model = TypeVar("Model", bound=type)


def register(name: str) -> Callable[[Model], Model]:
    """Class decorator that makes an architecture known by a name."""

    def decorate(cls: Model) -> Model:
        if name in _REGISTRY:
            raise ValueError(
                f"`name` must be free. Received: name={name!r}, which belongs to "
                f"{_REGISTRY[name].__name__}."
            )
        _REGISTRY[name] = cls
        return cls

    return decorate


def names() -> list[str]:
    """Names of all architectures, sorted."""
    return sorted(_REGISTRY)


def get(name: str) -> Any:
    """The class of an architecture.

    Args:
        name: registered name.

    Returns:
        Subclass of `MultiTaskModel`.

    Raises:
        ValueError: if the name is unknown; the message lists the known ones.
    """
    if name not in _REGISTRY:
        raise unknown_name_error("name", name, names())
    return _REGISTRY[name]
