"""SDMGrad: min-norm weights by steps of gradient descent, drawn to the mean."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.aggregators.checks import check_not_negative, check_positive
from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.moving_average import check_decay
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import project_to_simplex, row_norms


@register("sdmgrad")
class SDMGrad(GramianWeighting):
    """Descends, from the weights of the last step, towards a direction-oriented MGDA.

    With `A` the Gramian over the square of the mean norm, and `p` the mean, each step
    takes `num_steps` steps of `w <- projection(w - learning_rate * velocity)`,
    `velocity <- momentum * velocity + A (w + strength p)`, on the simplex. The
    direction has the weights `(w + strength p) / (1 + strength)`. `w` is kept between
    steps, the velocity is not. This is no converged solver: with the large learning
    rate of the authors it may cycle.

    `fit` has one batch per step, so it is the deterministic variant. The paper takes
    `A = X Y'` from the Jacobians `X`, `Y` of two batches drawn apart, and combines the
    rows of a third: a loop of your own may pass `X Y'` to `weights`.

    A row of norm 0 is an attractive one. One task gets its plain gradient.

    Args:
        strength: float, at least 0, pull to the mean; the paper's lambda.
        num_steps: int, at least 1.
        learning_rate: positive float.
        momentum: float in `[0, 1)`.
        **kwargs: see `GramianWeighting`. A `preference` is the mean `p`.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Xiao, Ban, Ji, Direction-oriented Multi-objective Learning: Simple and Provable
        Stochastic Algorithms, NeurIPS 2023, arXiv:2305.18409. Differs from the official
        code: that takes all three batches from one buffer by mistake, multiplies the
        direction by the number of tasks and clips it to norm 1 (`max_norm`).
    """

    uses_preference = True

    def __init__(
        self,
        strength: float = 0.3,
        num_steps: int = 20,
        learning_rate: float = 10.0,
        momentum: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_steps < 1:
            raise ValueError(
                f"`num_steps` must be at least 1. Received: num_steps={num_steps}."
            )
        self.strength = check_not_negative("strength", strength)
        self.num_steps = int(num_steps)
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.momentum = check_decay("momentum", momentum)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "strength": self.strength,
            "num_steps": self.num_steps,
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
        }

    def _build(self, num_tasks: int) -> None:
        mean = keras.initializers.Constant(1.0 / num_tasks)
        self._kept_weights = self.add_variable(
            "simplex_weights", (num_tasks,), initializer=mean, task_axes=1
        )

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        count = tf.math.count_nonzero(present, dtype=tf.float64)
        # The diagonal of a product of two Jacobians may be negative.
        norms = row_norms(gramian)
        mean_norm = tf.math.divide_no_nan(tf.reduce_sum(norms), count)
        matrix = tf.math.divide_no_nan(gramian, tf.square(mean_norm))
        pull = self.strength * self._shares(present)

        def step(weights: tf.Tensor, velocity: tf.Tensor) -> tuple:
            gradient = tf.linalg.matvec(matrix, weights + pull)
            velocity = self.momentum * velocity + gradient
            moved = weights - self.learning_rate * velocity
            return project_to_simplex(moved, present), velocity

        start = project_to_simplex(self._kept_weights.value, present)
        weights, _ = tf.while_loop(
            lambda *_: True,
            step,
            (start, tf.zeros_like(start)),
            maximum_iterations=self.num_steps,
        )
        self._kept_weights.assign(weights)
        return (weights + pull) / (1.0 + self.strength)
