"""Random weights of the tasks, drawn anew in each step."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.aggregators.base import fixed_seed
from tf_mtl.aggregators.softmax import present_softmax
from tf_mtl.aggregators.weighting import Weighting


class RandomWeights(Weighting):
    """A weighting whose weights are the softmax of normals. Mixed into a kind.

    Args:
        seed: int, seed of the normals. None: drawn now, and kept in the config.
        **kwargs: see the kind.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = fixed_seed(seed)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "seed": self.seed}

    def _build(self, num_tasks: int) -> None:
        self._seed_generator = self.add_seed_generator(self.seed)

    def _random_weights(self, present: tf.Tensor) -> tf.Tensor:
        return present_softmax(self._normals(present.shape[0]), present)

    def _normals(self, num_tasks: int) -> tf.Tensor:
        """Standard normals of this step, float64 `(num_tasks,)`."""
        return keras.random.normal(
            (num_tasks,), dtype="float64", seed=self._seed_generator
        )
