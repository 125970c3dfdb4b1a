"""DSelect-k: gates that select few experts, by differentiable binary codes."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.layers.expert_mask import checked_mask
from tf_mtl.layers.initializers import PerSlice
from tf_mtl.layers.stacked import StackedDense

# Floor of a logarithm and of a denominator.
EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="tf_mtl")
class DSelectKGate(keras.layers.Layer):
    """Gates that mix at most `num_selectors` experts each, once they have settled.

    A selector holds a number for each bit of the index of an expert. A smooth step
    makes a value in `[0, 1]` of it, exactly 0 or 1 outside of `(-gamma, gamma) / 2`;
    the weight of an expert is the product over its bits, so that a selector ends with
    one expert. A softmax weights the selectors.

    In training the layer adds losses, means over the batch and sums over selectors and
    gates: `entropy_weight` times the entropy of each selector; and, unless every code
    is that of an expert (2, 4, 8 ... of them, and no `mask`), the reciprocal of its sum
    of weights, which keeps it from the codes of no expert. They train the gates alone:
    none reaches `inputs`.

    Args:
        num_gates: int. Gates, computed together.
        num_experts: int, at least 2.
        num_selectors: int. The most experts that a gate ends with.
        per_example: bool. Whether experts are selected by `inputs`; else a gate selects
            the same ones for every example.
        gamma: float, above 0. Width of the smooth step.
        entropy_weight: float, at least 0. How strongly selectors are drawn to one
            expert.
        shared_input: bool. True when every gate reads the same input.
        mask: bools of shape `(num_gates, num_experts)`, False for an expert that a gate
            does not have. None: every gate has all.

    Call arguments:
        inputs: see `StackedDense`.
        training: bool.

    Returns:
        float32 tensor of shape `(num_gates, batch, num_experts)`: weights that add up
        to 1, or less where selectors give weight to codes of no expert.

    Raises:
        ValueError: if a number is out of range, or `mask` has another shape or a gate
            without an expert.

    Reference:
        Hazimeh et al., DSelect-k: Differentiable Selection in the Mixture of Experts
        with Applications to Multi-Task Learning, NeurIPS 2021. Initial values are those
        of the authors' layer, but that biases start at 0. There the regularisers are
        sums over the batch, the entropy has a schedule, and their gradient reaches the
        inputs; it divides by a sum that may be 0, here at least 1e-6.
    """

    def __init__(
        self,
        num_gates: int,
        num_experts: int,
        num_selectors: int = 2,
        per_example: bool = True,
        gamma: float = 1.0,
        entropy_weight: float = 0.0,
        shared_input: bool = True,
        mask: Sequence[Sequence[bool]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        least = {"num_gates": 1, "num_experts": 2, "num_selectors": 1}
        sizes = {
            "num_gates": num_gates,
            "num_experts": num_experts,
            "num_selectors": num_selectors,
        }
        for name, value in sizes.items():
            if value < least[name]:
                raise ValueError(
                    f"`{name}` must be at least {least[name]}. "
                    f"Received: {name}={value}."
                )
        if gamma <= 0:
            raise ValueError(f"`gamma` must be above 0. Received: gamma={gamma}.")
        if entropy_weight < 0:
            raise ValueError(
                "`entropy_weight` must be at least 0. "
                f"Received: entropy_weight={entropy_weight}."
            )
        self.num_gates = num_gates
        self.num_experts = num_experts
        self.num_selectors = num_selectors
        self.per_example = per_example
        self.gamma = gamma
        self.entropy_weight = entropy_weight
        self.shared_input = shared_input
        self.mask = checked_mask(mask, num_gates, num_experts)
        self._num_bits = math.ceil(math.log2(num_experts))
        self._has_unused_codes = (
            num_experts < 2**self._num_bits or self.mask is not None
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the logits of bits and of selectors, or what computes them."""
        limit = self.gamma / 100
        self.code = self._make_logits(
            "code", self.num_selectors * self._num_bits, limit, input_shape
        )
        self.selector = self._make_logits(
            "selector", self.num_selectors, 0.05, input_shape
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Weights of the experts."""
        if training and (self.entropy_weight or self._has_unused_codes):
            # Logits of their own: no gradient of a regulariser may reach the inputs.
            self.add_loss(self._regularizer(self._selected(tf.stop_gradient(inputs))))
        weights = tf.nn.softmax(self._logits(self.selector, inputs))
        weights = tf.reduce_sum(weights[..., None] * self._selected(inputs), axis=2)
        shape = [self.num_gates, tf.shape(inputs)[-2], self.num_experts]
        return weights if self.per_example else tf.broadcast_to(weights, shape)

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for a shape of the input."""
        return (self.num_gates, input_shape[-2], self.num_experts)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_gates": self.num_gates,
            "num_experts": self.num_experts,
            "num_selectors": self.num_selectors,
            "per_example": self.per_example,
            "gamma": self.gamma,
            "entropy_weight": self.entropy_weight,
            "shared_input": self.shared_input,
            "mask": self.mask,
        }

    def _make_logits(
        self, name: str, units: int, limit: float, input_shape: Sequence[int | None]
    ) -> Any:
        """What gives logits: a layer on the inputs, or a variable."""
        initializer = keras.initializers.RandomUniform(-limit, limit)
        if not self.per_example:
            return self.add_weight(
                shape=(self.num_gates, 1, units),
                initializer=PerSlice(initializer),
                name=name,
            )
        dense = StackedDense(
            self.num_gates,
            units,
            kernel_initializer=initializer,
            shared_input=self.shared_input,
            name=name,
            dtype=self.dtype_policy,
        )
        dense.build(input_shape)
        return dense

    def _logits(self, source: Any, inputs: tf.Tensor) -> tf.Tensor:
        """Float32, `(num_gates, batch, units)`; the batch of a static gate is 1."""
        return tf.cast(source(inputs) if self.per_example else source, tf.float32)

    def _selected(self, inputs: tf.Tensor) -> tf.Tensor:
        """What each selector gives each expert, `(num_gates, batch, selectors, n)`."""
        logits = tf.reshape(
            self._logits(self.code, inputs),
            [self.num_gates, -1, self.num_selectors, self._num_bits],
        )
        bits = _smooth_step(logits / self.gamma)
        numbers = np.arange(self.num_experts)
        products = tf.ones([1], bits.dtype)
        for i in range(self._num_bits):
            bit = bits[..., i, None]
            products *= tf.where((numbers >> i) % 2 == 1, bit, 1 - bit)
        if self.mask is None:
            return products
        return products * np.array(self.mask, "float32")[:, None, None]

    def _regularizer(self, selected: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(selected, axis=-1)
        loss = 1 / tf.maximum(total, EPSILON) if self._has_unused_codes else 0.0
        if self.entropy_weight:
            logs = tf.math.log(selected + EPSILON)
            loss -= self.entropy_weight * tf.reduce_sum(selected * logs, axis=-1)
        return tf.reduce_sum(tf.reduce_mean(loss, axis=1))


def _smooth_step(inputs: tf.Tensor) -> tf.Tensor:
    """Cubic from 0 at -1/2 to 1 at 1/2, constant outside."""
    inputs = tf.clip_by_value(inputs, -0.5, 0.5)
    return 0.5 + inputs * (1.5 - 2 * tf.square(inputs))
