"""Many dense layers of one shape as one operation: experts, gates and towers."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.dropout import Dropout
from tf_mtl.layers.initializers import PerSlice

# Kernels with at most so many columns get their gradient column by column.
_FEW_COLUMNS = 4


@keras.saving.register_keras_serializable(package="tf_mtl")
class StackedDense(keras.layers.Layer):
    """`num_slices` dense layers of equal shape, computed together.

    Args:
        num_slices: int. Number of dense layers (experts, gates or towers).
        units: int. Output width of each.
        activation: Keras activation.
        use_bias: bool.
        kernel_initializer: initializer of one slice; see `PerSlice`.
        kernel_regularizer: Keras regularizer, summed over the slices.
        shared_input: bool. True when every slice reads the same input.

    Call arguments:
        inputs: `(num_slices, batch, width)`, one input per slice; or, with
            `shared_input`, `(batch, width)`. A shared input may also come as
            `num_slices` equal copies, `(num_slices, batch, width)`: the value is
            computed once, and the gradient arrives at each copy separately.

    Returns:
        tensor of shape `(num_slices, batch, units)`.
    """

    def __init__(
        self,
        num_slices: int,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        shared_input: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for name, value in (("num_slices", num_slices), ("units", units)):
            if int(value) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: {name}={value}."
                )
        self.num_slices = int(num_slices)
        self.units = int(units)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.shared_input = shared_input

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the stacked kernel `(num_slices, width, units)` and bias."""
        per_slice = self.kernel_initializer
        if not isinstance(per_slice, PerSlice):
            per_slice = PerSlice(per_slice, getattr(per_slice, "seed", None))
        self.kernel = self.add_weight(
            shape=(self.num_slices, input_shape[-1], self.units),
            initializer=per_slice,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.num_slices, 1, self.units),
                initializer="zeros",
                name="bias",
            )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies all slices."""
        kernel = tf.convert_to_tensor(self.kernel)
        if not self.shared_input:
            outputs = tf.matmul(inputs, kernel)
        elif inputs.shape.rank == 2:
            outputs = _shared_matmul(inputs, kernel)
        else:
            outputs = _copies_matmul(inputs, kernel)
        if self.use_bias:
            outputs += tf.convert_to_tensor(self.bias)
        return self.activation(outputs)

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for a shape of the input."""
        return (self.num_slices, input_shape[-2], self.units)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_slices": self.num_slices,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "shared_input": self.shared_input,
        }


@keras.saving.register_keras_serializable(package="tf_mtl")
class StackedMLP(keras.layers.Layer):
    """`num_slices` multi-layer perceptrons of equal shape, computed together.

    Args:
        num_slices: int. Number of perceptrons.
        units: sequence of int, the layer widths. Empty: the identity.
        activation: Keras activation of the hidden layers.
        output_units: int or `None`. Width of a last, linear layer.
        dropout: float in `[0, 1)`, after each hidden layer.
        kernel_regularizer: Keras regularizer.
        shared_input: bool, see `StackedDense`; holds for the first layer.

    Call arguments:
        inputs: see `StackedDense`.
        training: bool.

    Returns:
        tensor of shape `(num_slices, batch, last width)`.
    """

    def __init__(
        self,
        num_slices: int,
        units: Sequence[int],
        activation: Any = "relu",
        output_units: int | None = None,
        dropout: float = 0.0,
        kernel_regularizer: Any = None,
        shared_input: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_slices = num_slices
        self.units = tuple(int(width) for width in units)
        self.activation = keras.activations.get(activation)
        self.output_units = output_units
        self.dropout = dropout
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.shared_input = shared_input
        widths = [(width, self.activation) for width in self.units]
        if output_units is not None:
            widths.append((output_units, None))
        if not widths:
            raise ValueError(
                "`units` must not be empty without `output_units`. "
                f"Received: units={units}."
            )
        self.dense = [
            StackedDense(
                num_slices,
                width,
                activation=function,
                kernel_regularizer=self.kernel_regularizer,
                shared_input=shared_input and index == 0,
                name=f"dense_{index}",
                dtype=self.dtype_policy,
            )
            for index, (width, function) in enumerate(widths)
        ]
        self.drop = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Builds the layers in order."""
        for layer in self.dense:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Applies all layers."""
        for index, layer in enumerate(self.dense):
            inputs = layer(inputs)
            if self.dropout and index < len(self.units):
                inputs = self.drop(inputs, training=training)
        return inputs

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for a shape of the input."""
        return self.dense[-1].compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_slices": self.num_slices,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "output_units": self.output_units,
            "dropout": self.dropout,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "shared_input": self.shared_input,
        }


def _shared_matmul(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """One wide product instead of `num_slices` narrow ones."""
    slices, width, units = kernel.shape
    if slices == 1:
        return _matmul(inputs, kernel[0])[None]
    wide = tf.reshape(tf.transpose(kernel, [1, 0, 2]), [width, slices * units])
    outputs = tf.reshape(_matmul(inputs, wide), [-1, slices, units])
    return tf.transpose(outputs, [1, 0, 2])


def _matmul(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Product of two matrices, with `_kernel_gradient`."""
    is_narrow = kernel.shape[1] <= _FEW_COLUMNS
    return _narrow_matmul(inputs, kernel) if is_narrow else tf.matmul(inputs, kernel)


@tf.custom_gradient
def _narrow_matmul(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        to_inputs = tf.matmul(upstream, kernel, transpose_b=True)
        return to_inputs, _kernel_gradient(inputs, upstream, kernel.shape[1])

    return tf.matmul(inputs, kernel), grad


def _kernel_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, num_columns: int
) -> tf.Tensor:
    """Gradient `(width, num_columns)` of the kernel that multiplied `inputs`."""
    if num_columns > _FEW_COLUMNS:
        return tf.matmul(inputs, upstream, transpose_a=True)
    # Such as those of a single gate. XLA on CPU would turn all inputs around for them,
    # which takes twice as long as the products.
    columns = tf.unstack(upstream, num_columns, axis=1)
    return tf.stack(
        [tf.linalg.matvec(inputs, column, transpose_a=True) for column in columns],
        axis=1,
    )


@tf.custom_gradient
def _copies_matmul(copies: tf.Tensor, kernel: tf.Tensor) -> Any:
    """`_shared_matmul` of the one value that all copies hold.

    Only the gradient tells the copies apart: slice `i` reads copy `i`.
    """
    inputs = copies[0]

    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        slices, width, units = kernel.shape
        wide = tf.reshape(tf.transpose(upstream, [1, 0, 2]), [-1, slices * units])
        kernel_grad = tf.reshape(
            _kernel_gradient(inputs, wide, slices * units), [width, slices, units]
        )
        return (
            tf.matmul(upstream, kernel, transpose_b=True),
            tf.transpose(kernel_grad, [1, 0, 2]),
        )

    return _shared_matmul(inputs, kernel), grad
