"""Equal weighting."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.reduction import Reduction, check_reduction, reduced
from tf_mtl.aggregators.registry import register


@register("ew")
class EqualWeighting(LossWeighting):
    """Gives every task the same weight.

    With `"sum"` this is what Keras does with several losses. One task gets its
    plain gradient.

    Args:
        reduction: `"sum"` or `"mean"` over the present tasks.

    Raises:
        ValueError: if `reduction` is neither.
    """

    uses_losses = False

    def __init__(self, reduction: Reduction = "sum") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"reduction": self.reduction}

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return reduced(self.reduction, self._shares(present))
