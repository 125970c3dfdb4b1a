"""Cross network: explicit feature crosses of bounded order."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from tf_mtl.layers.initializers import distinct
from tf_mtl.layers.registry import register
from tf_mtl.names import unknown_name_error

Kind = Literal["vector", "matrix"]


@register("trunk", "cross_network")
@keras.saving.register_keras_serializable(package="tf_mtl")
class CrossNetwork(keras.layers.Layer):
    """Multiplies a vector with functions of itself, once per layer.

    With `x_0` the input, each layer is
    `"matrix"` (DCN-v2): `x_{l+1} = x_0 * (W_l x_l + b_l) + x_l`, or
    `"vector"` (DCN): `x_{l+1} = x_0 * (w_l . x_l) + b_l + x_l`.
    After `l` layers the output holds crosses of up to `l + 1` features.

    Args:
        num_layers: int.
        kind: `"matrix"` or `"vector"`.
        projection_dim: int or `None`. Rank of `W_l = V_l U_l`; a quarter of the width
            or less saves time. None: `W_l` is a full matrix.
        concat: bool. Whether the crosses are joined with the input, so that what
            follows reads both; else it reads the crosses alone (stacked).
        kernel_regularizer: Keras regularizer.

    Call arguments:
        inputs: tensor of shape `(batch, width)`: all features joined, of any widths.

    Returns:
        tensor of shape `(batch, width)`, with `concat` `(batch, 2 * width)`.

    Raises:
        ValueError: if `kind` is unknown, a number is below 1, or `projection_dim` is
            given for vectors.

    Reference:
        Wang et al., DCN-v2, WWW 2021, arXiv:2008.13535; Wang et al., Deep & Cross
        Network, ADKDD 2017, arXiv:1708.05123. The mixture of low-rank experts of DCN-v2
        is left out. `FeatureCross` of keras-rs is one layer of DCN-v2, a function of
        `x_0` and `x_l`: a trunk of them would still need a class around it, a layer of
        DCN beside it, and one more dependency.
    """

    def __init__(
        self,
        num_layers: int = 2,
        kind: Kind = "matrix",
        projection_dim: int | None = None,
        concat: bool = True,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in get_args(Kind):
            raise unknown_name_error("kind", kind, get_args(Kind))
        for name, value in (
            ("num_layers", num_layers),
            ("projection_dim", projection_dim),
        ):
            if value is not None and value < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: {name}={value}."
                )
        if projection_dim is not None and kind == "vector":
            raise ValueError(
                "`projection_dim` is the rank of a matrix. Received: projection_dim="
                f"{projection_dim}, kind='vector'. Pass kind='matrix', or leave it out."
            )
        self.num_layers = num_layers
        self.kind = kind
        self.projection_dim = projection_dim
        self.concat = concat
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: Sequence[Any]) -> None:
        """Creates the kernels, one or with a projection two per layer, and biases."""
        width, rank = input_shape[-1], self.projection_dim
        if self.kind == "vector":
            shapes = [(width, 1)]
        elif rank is None:
            shapes = [(width, width)]
        else:
            shapes = [(width, rank), (rank, width)]
        initializers = iter(
            distinct(keras.initializers.GlorotUniform(), self.num_layers * len(shapes))
        )
        self.kernels = [
            [
                self.add_weight(
                    shape=shape,
                    initializer=next(initializers),
                    regularizer=self.kernel_regularizer,
                    name=f"kernel_{layer}_{place}",
                )
                for place, shape in enumerate(shapes)
            ]
            for layer in range(self.num_layers)
        ]
        self.biases = [
            self.add_weight(shape=(width,), initializer="zeros", name=f"bias_{layer}")
            for layer in range(self.num_layers)
        ]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Crosses the input with itself."""
        crossed = inputs
        for kernels, bias in zip(self.kernels, self.biases, strict=True):
            product = crossed
            for kernel in kernels:
                product = tf.matmul(product, kernel)
            if self.kind == "vector":
                crossed = inputs * product + bias + crossed
            else:
                crossed = inputs * (product + bias) + crossed
        return tf.concat([inputs, crossed], axis=-1) if self.concat else crossed

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of the output for the shapes of the inputs."""
        width = input_shape[-1] * (2 if self.concat else 1)
        return (*input_shape[:-1], width)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "kind": self.kind,
            "projection_dim": self.projection_dim,
            "concat": self.concat,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
