"""Gates of all tasks by one network, which reads a vector of the task."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf_mtl")
class TaskGate(keras.layers.Layer):
    """Logits of a gate for each task: two dense layers on the task and the inputs.

    The first layer, a ReLU, reads the vector of a task next to the inputs. All tasks
    have the same layers, so that only their vectors tell them apart; and the part of
    the first layer that reads the inputs is computed once for all.

    Args:
        units: int. What a gate weights: experts, or critics.
        hidden_units: int. Width of the first layer.

    Call arguments:
        tasks: float tensor of shape `(num_tasks, task_dim)`.
        inputs: float tensor of shape `(batch, width)`.

    Returns:
        tensor of shape `(num_tasks, batch, units)`, the logits of a softmax.

    Raises:
        ValueError: if a number is less than 1.
    """

    def __init__(self, units: int, hidden_units: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        for name, value in (("units", units), ("hidden_units", hidden_units)):
            if value < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: {name}={value}."
                )
        self.units = units
        self.hidden_units = hidden_units
        self.output_layer = keras.layers.Dense(
            units, name="output", dtype=self.dtype_policy
        )

    def build(self, tasks_shape: Sequence[Any], inputs_shape: Sequence[Any]) -> None:
        """Creates the kernel `(task_dim + width, hidden_units)` and what follows."""
        self.kernel = self.add_weight(
            shape=(tasks_shape[-1] + inputs_shape[-1], self.hidden_units),
            initializer="glorot_uniform",
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(self.hidden_units,), initializer="zeros", name="bias"
        )
        self.output_layer.build((None, None, self.hidden_units))

    def call(self, tasks: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """Logits for each task and row."""
        kernel = tf.convert_to_tensor(self.kernel)
        of_tasks, of_inputs = tf.split(kernel, [tasks.shape[-1], inputs.shape[-1]])
        hidden = tf.matmul(tasks, of_tasks)[:, None] + tf.matmul(inputs, of_inputs)
        return self.output_layer(tf.nn.relu(hidden + tf.convert_to_tensor(self.bias)))

    def compute_output_shape(
        self, tasks_shape: Sequence[int | None], inputs_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the inputs."""
        return (tasks_shape[0], inputs_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "hidden_units": self.hidden_units,
        }
