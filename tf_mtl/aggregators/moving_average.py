"""A moving average over steps, kept in the state of an aggregator."""

from collections.abc import Sequence

import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator


class MovingAverage:
    """Exponential moving average with bias correction, entry by entry.

    Entries of absent tasks keep their value and the weight of their history.

    Args:
        owner: aggregator whose state it joins; made in its hook `_build`.
        name: str, prefix of the names of the variables.
        decay: float in `[0, 1)`.
        shape: full shape, task axes included.
        task_axes: int, see `Aggregator.add_variable`.
    """

    def __init__(
        self,
        owner: Aggregator,
        name: str,
        decay: float,
        shape: Sequence[int],
        task_axes: int = 0,
    ) -> None:
        self._decay = decay
        self._sum = owner.add_variable(f"{name}_sum", shape, task_axes=task_axes)
        self._share = owner.add_variable(f"{name}_share", shape, task_axes=task_axes)

    @property
    def value(self) -> tf.Tensor:
        """The average so far, float64, 0 where nothing was taken in yet."""
        return tf.math.divide_no_nan(self._sum.value, self._share.value)

    def update(self, value: tf.Tensor) -> tf.Tensor:
        """Takes one more value in and returns the average, float64."""
        for variable, new in ((self._sum, value), (self._share, 1.0)):
            variable.assign(self._decay * variable + (1.0 - self._decay) * new)
        return self.value


def check_decay(name: str, decay: float) -> float:
    """Returns `decay`, or raises ValueError if it is not in `[0, 1)`."""
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"`{name}` must be in [0, 1). Received: {name}={decay}.")
    return float(decay)
