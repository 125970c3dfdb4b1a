"""Values of variables that a step which is undone puts back."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class Snapshot:
    """Values of variables, kept to be put back.

    An aggregator undoes what it learnt from rows and losses that are not finite, but
    it sees neither the gradients of single tasks nor the running means of layers. So
    a skipped step puts back the state of both.

    Args:
        variables: sequence of `keras.Variable` or `tf.Variable`. Each is read, so none
            should be large.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self._kept = [(v, tf.identity(tf.convert_to_tensor(v))) for v in variables]

    def put_back_unless(self, is_ok: tf.Tensor) -> None:
        """Gives the variables their values back if the bool scalar is False."""
        for variable, value in self._kept:
            variable.assign(tf.where(is_ok, tf.convert_to_tensor(variable), value))
