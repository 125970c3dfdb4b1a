"""Updater of DRGrad: weights of the two branches of a primary task."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from tf_mtl.aggregators.moving_average import check_decay
from tf_mtl.aggregators.rows import as_rows
from tf_mtl.freezing import frozen
from tf_mtl.names import unknown_name_error

Rule = Literal["ratio", "softmax_sum", "fixed"]

# A branch with less weight than this hardly adds to the output.
_DEAD_WEIGHT = 1e-3


@keras.saving.register_keras_serializable(package="tf_mtl")
class Updater(keras.layers.Layer):
    """Adds the two branches of each primary task, weighed by their gradient norms.

    The output is `w[0] * dedicated + w[1] * shared_half`, with weights that sum to 1.
    Both start at 0.5 and follow the norms that `update` is told, by one of the rules

    - `"ratio"`: each weight is the share of a moving average of `norm / w`, kept
      within `[floor, 1 - floor]`. Since the gradient of a branch is proportional to its
      weight, the division keeps a weight from feeding itself, and a share does not
      depend on the scale of the loss;
    - `"softmax_sum"`, the paper: softmax of the sums of the norms over all steps. It
      feeds itself and depends on the scale, and so soon saturates (A7, A17): see
      `dead_branches`. Only the difference of the sums is kept, so that nothing
      overflows;
    - `"fixed"`: both stay at 0.5.

    The state is part of the non-trainable weights of the layer, so it is saved with a
    model and put back where the train step undoes an update. Only `update` changes it:
    evaluation reads the last weights, and in an exported model they are constants.

    Args:
        rule: `"ratio"`, `"softmax_sum"` or `"fixed"`.
        decay: float in `[0, 1)`. Decay of the moving average of `"ratio"`, per step.
        floor: float in `(0, 0.5)`. Smallest weight that `"ratio"` gives or divides by.

    Call arguments:
        outputs: float tensor of shape `(num_primary, 2, batch)`, outputs of the
            dedicated towers and of the shared halves, as logits (A13).

    Returns:
        Tensor of shape `(num_primary, batch)`, float32, or float64 if `outputs` is.

    Raises:
        ValueError: if an argument is outside its range; in `build` if `outputs` has
            another shape.
    """

    def __init__(
        self,
        rule: Rule = "ratio",
        decay: float = 0.99,
        floor: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if rule not in get_args(Rule):
            raise unknown_name_error("rule", rule, get_args(Rule))
        if not 0.0 < floor < 0.5:
            raise ValueError(f"`floor` must be in (0, 0.5). Received: floor={floor}.")
        self.rule = rule
        self.decay = check_decay("decay", decay)
        self.floor = floor

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the state.

        Args:
            input_shape: `(num_primary, 2, batch)`; `batch` may be None.
        """
        if len(input_shape) != 3 or input_shape[0] is None or input_shape[1] != 2:
            raise ValueError(
                "`outputs` must have shape (num_primary, 2, batch), with a known "
                f"`num_primary`. Received: shape {tuple(input_shape)}."
            )
        self.num_primary = int(input_shape[0])
        if self.rule == "ratio":
            self._averages = self._add_state("norm_averages", (self.num_primary, 2))
        elif self.rule == "softmax_sum":
            # Of the sums of norms, dedicated minus shared half.
            self._difference = self._add_state("norm_difference", (self.num_primary,))

    def call(self, outputs: tf.Tensor) -> tf.Tensor:
        """Adds the branches with the weights of the last update."""
        outputs = as_rows(outputs)
        weights = tf.cast(self.branch_weights(), outputs.dtype)
        return tf.reduce_sum(weights[..., None] * outputs, axis=1)

    @frozen
    def branch_weights(self) -> tf.Tensor:
        """Weights of the dedicated branch and of the shared half, the paper's mu.

        Returns:
            float64 tensor of shape `(num_primary, 2)`; rows sum to 1.
        """
        if self.rule == "fixed":
            return tf.constant(0.5, tf.float64, [self.num_primary, 2])
        if self.rule == "softmax_sum":
            difference = self._difference.value
            return tf.sigmoid(tf.stack([difference, -difference], axis=-1))
        averages = self._averages.value
        total = tf.reduce_sum(averages, axis=-1, keepdims=True)
        shares = tf.where(total > 0.0, tf.math.divide_no_nan(averages, total), 0.5)
        return tf.clip_by_value(shares, self.floor, 1.0 - self.floor)

    def update(self, norms: tf.Tensor, present: tf.Tensor | None = None) -> None:
        """Takes the gradients of a step in. Call it once a step, after the router.

        Args:
            norms: float tensor of shape `(num_primary, 2)`, norms of the gradients
                of both branches with what was routed to them, over the global batch:
                `Routes.norms`, with the scale of the loss removed. A row that is not
                finite leaves the weights of its task as they were.
            present: bool tensor of shape `(num_primary,)`. False for a task with no
                known label in this batch, whose weights stay. None: all present.
        """
        if self.rule == "fixed":
            return
        norms = tf.cast(norms, tf.float64)
        keep = tf.reduce_all(tf.math.is_finite(norms), axis=-1)
        if present is not None:
            keep &= tf.cast(present, tf.bool)
        if self.rule == "ratio":
            old = self._averages.value
            plain = norms / tf.maximum(self.branch_weights(), self.floor)
            new = self.decay * old + (1.0 - self.decay) * plain
            self._averages.assign(tf.where(keep[:, None], new, old))
        else:
            old = self._difference.value
            new = old + norms[:, 0] - norms[:, 1]
            self._difference.assign(tf.where(keep, new, old))

    def dead_branches(self) -> tf.Tensor:
        """Branches that have lost their weight, and with it their gradient.

        Returns:
            bool tensor of shape `(num_primary, 2)`, True for a weight below 0.001.
        """
        return self.branch_weights() < _DEAD_WEIGHT

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the inputs."""
        return (input_shape[0], input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "rule": self.rule,
            "decay": self.decay,
            "floor": self.floor,
        }

    def _add_state(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype="float64",
            initializer="zeros",
            trainable=False,
            autocast=False,
            # Replicas see the same norms and so compute the same state.
            aggregation="only_first_replica",
        )
