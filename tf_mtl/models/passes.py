"""What a forward and a backward pass of a train step find."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tf_mtl import gradients

# Gramian of the task gradients -> weights of the tasks.
Weigh = Callable[[tf.Tensor], tf.Tensor]

# Gradients at the inputs of the towers, and of the variables above them -> the same,
# with gradients that are routed from tower to tower.
Route = Callable[
    [tf.Tensor, list[gradients.Gradient]], tuple[tf.Tensor, list[gradients.Gradient]]
]

# Raw outputs by task -> losses by task.
LossesFn = Callable[[list[tf.Tensor]], list[tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Backward:
    """What a backward pass found.

    Attributes:
        plain: list over variables, this replica's gradient, which the optimizer sums
            over replicas: that of a variable that a single task reaches, and of a loss
            with weights; else `None`.
        shared: list over variables, the aggregated rows of a shared variable, else
            `None`. Summed over replicas already.
        penalty: list over variables, this replica's gradient of the regularisation
            losses, where it is not in `plain`; else `None`.
    """

    plain: list[gradients.Gradient]
    shared: list[gradients.Gradient]
    penalty: list[gradients.Gradient]


@dataclasses.dataclass(frozen=True)
class Forward:
    """What a forward pass found.

    Attributes:
        outputs: raw outputs by task.
        losses: list of float32 scalars by task, this replica's share, without the
            static weights.
    """

    outputs: list[tf.Tensor]
    losses: list[tf.Tensor]
