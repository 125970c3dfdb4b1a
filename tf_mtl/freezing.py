"""Freezing: what follows from weights alone is computed once, at export."""

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# A larger tensor is kept as a variable: a graph is read as a whole and limited to 2 GB.
_CONSTANT_SIZE = 256


@dataclasses.dataclass(frozen=True)
class _Values:
    """What methods gave, by method and object, and the variables in it."""

    by_method: dict[tuple[Any, int], Any]
    variables: list[tf.Variable]

    def freeze(self, name: str, value: Any) -> Any:
        if not tf.is_tensor(value) or value.shape.num_elements() <= _CONSTANT_SIZE:
            return value
        name = f"{name}_{len(self.variables)}"
        self.variables.append(tf.Variable(value, trainable=False, name=name))
        return self.variables[-1]


# None: nothing is being exported.
_active: contextvars.ContextVar[_Values | None]
_active = contextvars.ContextVar("frozen_values", default=None)


@contextlib.contextmanager
def freezing() -> Iterator[list[tf.Variable]]:
    """Functions that are traced in here take the values of `frozen` methods as fixed.

    Yields:
        list of the variables that hold values too large for a constant; it grows as
        functions are traced. They are not part of the model.
    """
    values = _Values({}, [])
    token = _active.set(values)
    try:
        yield values.variables
    finally:
        _active.reset(token)


def is_freezing() -> bool:
    """Whether a model is being exported: a layer may leave out what is closed."""
    return _active.get() is not None


def frozen(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Marks a method that depends on nothing but the weights of its object.

    Within `freezing` it is called once for each object, outside of any graph, so that
    its tensors have values that Python code can look at. In the graph they become
    constants, or a variable each if they have more than 256 entries. What the method
    read is not part of the graph any more. Everywhere else the method is called as is.

    Args:
        method: method without arguments. It returns a tensor, or lists, tuples and
            dicts of them and of other values, which are left as they are.

    Returns:
        The method.
    """

    @functools.wraps(method)
    def wrapper(self: Any) -> Any:
        values = _active.get()
        if values is None:
            return method(self)
        key = (method, id(self))
        if key not in values.by_method:
            with tf.init_scope():
                owner = getattr(self, "path", type(self).__name__)
                name = f"{owner}/{method.__name__.lstrip('_')}"
                freeze = functools.partial(values.freeze, name)
                values.by_method[key] = tf.nest.map_structure(freeze, method(self))
        return tf.nest.map_structure(_in_graph, values.by_method[key])

    return wrapper


def _in_graph(value: Any) -> Any:
    if isinstance(value, tf.Variable):
        return tf.convert_to_tensor(value)
    return tf.constant(value.numpy()) if tf.is_tensor(value) else value
