"""AdaTask: adaptive learning rates for each task."""

from typing import Any, Literal

import keras
import tensorflow as tf

from tf_mtl.optimizers.taskwise import Tables, TaskwiseOptimizer

Rule = Literal["adam", "adagrad", "rmsprop"]

_SLOTS: dict[Rule, tuple[str, ...]] = {
    "adam": ("momentum", "velocity"),
    "adagrad": ("accumulator",),
    "rmsprop": ("velocity",),
}

# Larger entries of gradients are cut: the sum of their squares would not be finite.
_LARGEST = 1e15


@keras.saving.register_keras_serializable(package="tf_mtl")
class AdaTask(TaskwiseOptimizer):
    """Adam, Adagrad or RMSProp with accumulators of each task.

    One accumulator for all tasks follows the task with the largest gradients, which
    then sets the step size of the others as well. Here each task `t` has its own for
    every shared variable `w`; with `g_t` the gradient of its loss and `k` the step,

        m_t = beta_1 * m_t + (1 - beta_1) * g_t
        v_t = beta_2 * v_t + (1 - beta_2) * g_t ** 2
        w -= learning_rate * sum_t(m_t / (1 - beta_1 ** k)
                                   / (sqrt(v_t / (1 - beta_2 ** k)) + epsilon))

    for `"adam"`. `"rmsprop"` has `g_t / (sqrt(v_t) + epsilon)` in the sum, and so has
    `"adagrad"`, with `v_t = v_t + g_t ** 2`. A variable that a single task reaches
    takes the same rule with the gradient of that task.

    The step is a sum of `num_tasks` steps of the size of the learning rate, so it is
    up to `num_tasks` times as long as a step of Adam on the summed loss. Weights of
    the losses come before the accumulators, and cancel in them but for `epsilon`.

    Edge cases: one task has the plain rule. The momentum of a task whose gradient is
    zero moves the variable for a while; a task absent from the batch keeps `m_t` and
    `v_t`, and takes no part in the step.

    Compile with an aggregator of kind `"loss"`, such as `"ew"`, and the surface
    `"parameters"`.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        rule: `"adam"`, `"adagrad"` or `"rmsprop"`.
        beta_1: float in `[0, 1)`. Decay of the momentum, of `"adam"` alone.
        beta_2: float in `[0, 1)`. Decay of the squares; `"adagrad"` has none, and
            0.9 or 0.99 is usual for `"rmsprop"`.
        epsilon: positive float. Added to the root.
        tables: see `TaskwiseOptimizer`.
        weight_decay: float or None. Decoupled decay; of a table, looked-up rows.
        loss_scale_factor: float or None. Factor on the loss, divided out of the
            gradients.
        name: str or None. Name of the optimizer.
        **kwargs: see `TaskwiseOptimizer`.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Yang et al., AdaTask: A Task-aware Adaptive Learning Rate Approach to
        Multi-task Learning, AAAI 2023, arXiv:2211.15055. Rows of a table that are not
        looked up stay as they are, see `LazyOptimizer`. The official code accepts a
        weight decay and AMSGrad, and ignores them. `epsilon` is added to the
        corrected root as there; Keras' Adam adds it to the uncorrected one.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        rule: Rule = "adam",
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        tables: Tables = "per_task",
        weight_decay: float | None = None,
        loss_scale_factor: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            tables=tables,
            weight_decay=weight_decay,
            loss_scale_factor=loss_scale_factor,
            name=name,
            **kwargs,
        )
        if rule not in _SLOTS:
            raise ValueError(
                f"`rule` must be one of {sorted(_SLOTS)}. Received: rule={rule!r}."
            )
        for argument, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0.0 <= value < 1.0:
                raise ValueError(
                    f"`{argument}` must be in [0, 1). Received: {argument}={value}."
                )
        if not epsilon > 0.0:
            raise ValueError(
                f"`epsilon` must be positive. Received: epsilon={epsilon}."
            )
        self.rule = rule
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of the slots, those of squared gradients last."""
        return _SLOTS[self.rule]

    def step(
        self, gradient: tf.Tensor, slots: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The rule, see `TaskwiseOptimizer.step`."""
        *momentum, velocity = slots
        gradient = tf.clip_by_value(gradient, -_LARGEST, _LARGEST)
        square = tf.square(gradient)
        if self.rule == "adagrad":
            velocity += square
        else:
            velocity = self.beta_2 * velocity + (1.0 - self.beta_2) * square
        root = tf.sqrt(velocity)
        if self.rule == "adam":
            gradient = self.beta_1 * momentum[0] + (1.0 - self.beta_1) * gradient
            momentum = [gradient]
            gradient /= self._correction(self.beta_1, gradient.dtype)
            root /= tf.sqrt(self._correction(self.beta_2, root.dtype))
        return gradient / (root + self.epsilon), [*momentum, velocity]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "rule": self.rule,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }

    def _correction(self, decay: float, dtype: tf.DType) -> tf.Tensor:
        """Sum of the weights of all past gradients in a moving average."""
        step = tf.cast(self.iterations + 1, tf.float64)
        return tf.cast(1.0 - tf.constant(decay, tf.float64) ** step, dtype)
