"""Initializers that draw different numbers for parts of one shape."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def distinct(
    initializer: keras.initializers.Initializer, count: int, seed: int | None = None
) -> list[keras.initializers.Initializer]:
    """Copies of an initializer that draw different numbers.

    A Keras initializer has one integer seed and gives the same numbers each time it is
    called: tables or experts that share the object start equal.

    Args:
        initializer: Keras initializer.
        count: int. Number of copies.
        seed: int to derive their seeds from; by default that of `initializer`.

    Returns:
        list of `count` initializers. Without a seed in its configuration (constants),
        they are all alike.
    """
    config = initializer.get_config()
    if "seed" not in config:
        return [initializer] * count
    if seed is None:
        seed = getattr(initializer, "seed", None)
    seeds = np.random.SeedSequence(seed if isinstance(seed, int) else None)
    return [
        initializer.__class__.from_config({**config, "seed": int(each)})
        for each in seeds.generate_state(count)
    ]


@keras.saving.register_keras_serializable(package="tf_mtl")
class PerSlice(keras.initializers.Initializer):
    """Draws each slice `[i]` of a stacked kernel as if it were a kernel of its own.

    Keras' own initializers fail on stacked kernels in two ways: an object returns the
    same numbers each time it is called with the same shape, and a rank-3 shape is taken
    for a convolution, so that its limits come out too small by the root of the number
    of slices.

    Args:
        initializer: name, config or object of a Keras initializer for one slice.
        seed: int or `None`. Slice `i` is drawn with the i-th seed derived from it.
    """

    def __init__(
        self,
        initializer: str | dict[str, Any] | keras.initializers.Initializer,
        seed: int | None = None,
    ):
        self.initializer = keras.initializers.get(initializer)
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> tf.Tensor:
        """Draws a tensor of `shape`, slice by slice along the first axis."""
        draws = distinct(self.initializer, shape[0], self.seed)
        return tf.stack([draw(shape[1:], dtype=dtype) for draw in draws])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "initializer": keras.initializers.serialize(self.initializer),
            "seed": self.seed,
        }
