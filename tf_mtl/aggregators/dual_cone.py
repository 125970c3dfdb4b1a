"""What UPGrad and DualProj share: projections that conflict with no gradient."""

from typing import Any, Literal, get_args

import tensorflow as tf

from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.gramian_weighting import GramianWeighting

RidgeScale = Literal["trace", "cosines"]


class DualConeWeighting(GramianWeighting):
    """Projects combinations of the rows onto the vectors that conflict with no row.

    Args:
        ridge: positive float. What is added to the diagonal of the scaled Gramian; it
            leaves a conflict of its order.
        ridge_scale: `"trace"`: the Gramian is divided by its trace first, as in public
            code, so that tasks with small gradients get more of the ridge than others
            and may keep a conflict. `"cosines"`: each task by its norm.
        **kwargs: see `GramianWeighting`.

    Raises:
        ValueError: if an argument is outside its range.
    """

    uses_preference = True

    def __init__(
        self, ridge: float = 1e-4, ridge_scale: RidgeScale = "trace", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.ridge = check_positive("ridge", ridge)
        if ridge_scale not in get_args(RidgeScale):
            raise ValueError(
                f"`ridge_scale` must be one of {get_args(RidgeScale)}. "
                f"Received: ridge_scale={ridge_scale!r}."
            )
        self.ridge_scale = ridge_scale

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "ridge": self.ridge,
            "ridge_scale": self.ridge_scale,
        }

    def _regularized(self, gramian: tf.Tensor) -> tf.Tensor:
        """The Gramian with the ridge, up to a factor."""
        squared_norms = tf.linalg.diag_part(gramian)
        if self.ridge_scale == "cosines":
            return gramian + tf.linalg.diag(self.ridge * squared_norms)
        # Peers compare the trace with an absolute number, below which they take the
        # plain mean: a normal value late in training.
        ridge = self.ridge * tf.reduce_sum(squared_norms)
        return gramian + ridge * tf.eye(gramian.shape[0], dtype=tf.float64)
