"""Personal gate: rescales units by who and what an example is about."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.stacked import StackedDense


@keras.saving.register_keras_serializable(package="tf_mtl")
class PersonalGate(keras.layers.Layer):
    """Multiplies its input by `2 * sigmoid(W p)`, with personal features `p`.

    `p` holds embeddings such as those of the user, the item and the author. `W` starts
    at 0, so that the gate starts as the identity; its factors lie in `(0, 2)`.

    Args:
        hidden_units: int or `None`. Width of a hidden ReLU layer with bias between `p`
            and `W`, as in PPNet. None: no hidden layer.
        use_bias: bool. Whether `W` has a bias.
        stop_gradient: bool. Whether the embeddings in `p` get no gradient through the
            gate.

    Call arguments:
        inputs: float tensor of shape `(batch, units)`; or `(num_slices, batch, units)`,
            each slice with a gate of its own.
        personal: float tensor of shape `(batch, width)`, of the same batch; or a copy
            for each slice, see `StackedDense`.

    Returns:
        Tensor like `inputs`.

    Raises:
        ValueError: if `hidden_units` is less than 1; in `build` if `inputs` has
            another number of axes.

    Reference:
        The gate of Liu et al., DRGrad, AAAI 2025, arXiv:2510.09643, after PPNet in
        Chang et al., PEPNet, KDD 2023, arXiv:2302.01115. The paper prints `W` alone:
        no bias, no hidden layer, no stop of gradients, and no initial value. Its
        equation names input and output alike.
    """

    def __init__(
        self,
        hidden_units: int | None = None,
        use_bias: bool = False,
        stop_gradient: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if hidden_units is not None and hidden_units < 1:
            raise ValueError(
                "`hidden_units` must be at least 1, or None. "
                f"Received: hidden_units={hidden_units}."
            )
        self.hidden_units = hidden_units
        self.use_bias = use_bias
        self.stop_gradient = stop_gradient

    def build(self, inputs_shape: Sequence[Any], personal_shape: Sequence[Any]) -> None:
        """Creates one gate for each slice."""
        if len(inputs_shape) not in (2, 3):
            raise ValueError(
                "`inputs` must have shape (batch, units) or (num_slices, batch, "
                f"units). Received: shape {tuple(inputs_shape)}."
            )
        num_slices = inputs_shape[0] if len(inputs_shape) == 3 else 1
        self.hidden = None
        if self.hidden_units is not None:
            self.hidden = StackedDense(
                num_slices,
                self.hidden_units,
                activation="relu",
                shared_input=True,
                name="hidden",
                dtype=self.dtype_policy,
            )
            self.hidden.build(personal_shape)
            personal_shape = self.hidden.compute_output_shape(personal_shape)
        self.gate = StackedDense(
            num_slices,
            inputs_shape[-1],
            use_bias=self.use_bias,
            kernel_initializer="zeros",
            shared_input=self.hidden is None,
            name="gate",
            dtype=self.dtype_policy,
        )
        self.gate.build(personal_shape)

    def call(self, inputs: tf.Tensor, personal: tf.Tensor) -> tf.Tensor:
        """Rescales the units of each example."""
        if self.stop_gradient:
            personal = tf.stop_gradient(personal)
        if self.hidden is not None:
            personal = self.hidden(personal)
        logits = self.gate(personal)
        return _gated(inputs, logits if inputs.shape.rank == 3 else logits[0])

    def compute_output_shape(
        self, inputs_shape: Sequence[int | None], personal_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the inputs."""
        del personal_shape
        return tuple(inputs_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "use_bias": self.use_bias,
            "stop_gradient": self.stop_gradient,
        }


@tf.custom_gradient
def _gated(inputs: tf.Tensor, logits: tf.Tensor) -> Any:
    """Inputs times `2 * sigmoid(logits)`."""
    # XLA on CPU repeats cheap operations, such as a product, in each of their uses,
    # with all that they are fused with. A division it computes once: so it is last.
    dtype = tf.float64 if inputs.dtype == tf.float64 else tf.float32
    divisor = 0.5 + 0.5 * tf.exp(-tf.cast(logits, dtype))
    outputs = tf.cast(inputs, dtype) / divisor

    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        upstream = tf.cast(upstream, dtype)
        to_inputs = upstream / divisor
        to_logits = upstream * outputs * (1.0 - 0.5 / divisor)
        return tf.cast(to_inputs, inputs.dtype), tf.cast(to_logits, logits.dtype)

    return tf.cast(outputs, inputs.dtype), grad
