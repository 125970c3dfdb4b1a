"""Hard-concrete gates: connections that training can close for good."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.freezing import frozen


@keras.saving.register_keras_serializable(package="tf_mtl")
class HardConcreteGate(keras.layers.Layer):
    """Gates in `[0, 1]` that are exactly 0 or 1 with positive probability.

    With one `log_alpha` per gate and logistic noise `e`, a gate is

        clip(sigmoid((e + log_alpha) / beta) * (zeta - gamma) + gamma, 0, 1)

    in training, and the same without `e` and `beta` when it is served. Each call with
    noise adds the loss `l0_weight * sum(open_probability())`, which closes gates that
    no task needs.

    Args:
        shape: shape of the gates.
        beta: float, above 0. Temperature: the smaller, the nearer to 0 or 1.
        gamma: float, below 0. Lower end of what is clipped.
        zeta: float, above 1. Upper end of what is clipped.
        log_alpha_init: float. Where `log_alpha` starts. 1: most gates are open.
        l0_weight: float, at least 0. Price of an open gate.
        seed: int or `None`.

    Call arguments:
        noise: what `draw` gave, in training; None: the gates as they are served.

    Returns:
        float32 tensor of shape `shape`.

    Raises:
        ValueError: if a number is out of range.

    Reference:
        Louizos et al., Learning Sparse Neural Networks through L0 Regularization, ICLR
        2018, arXiv:1712.01312. Public code often differs: noise that is drawn once, or
        trained; one `log_alpha` for a whole layer; `beta` that divides `log_alpha`
        alone; noise in evaluation.
    """

    def __init__(
        self,
        shape: Sequence[int],
        beta: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        log_alpha_init: float = 1.0,
        l0_weight: float = 1e-4,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # What comes in stays float32 under mixed precision.
        super().__init__(**{"autocast": False, **kwargs})
        for name, value, is_ok, rule in (
            ("beta", beta, beta > 0, "above 0"),
            ("gamma", gamma, gamma < 0, "below 0"),
            ("zeta", zeta, zeta > 1, "above 1"),
            ("l0_weight", l0_weight, l0_weight >= 0, "at least 0"),
        ):
            if not is_ok:
                raise ValueError(f"`{name}` must be {rule}. Received: {name}={value}.")
        self.shape = tuple(shape)
        self.beta = beta
        self.gamma = gamma
        self.zeta = zeta
        self.log_alpha_init = log_alpha_init
        self.l0_weight = l0_weight
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any = None) -> None:
        """Creates `log_alpha`."""
        del input_shape
        self.log_alpha = self.add_weight(
            shape=self.shape,
            initializer=keras.initializers.Constant(self.log_alpha_init),
            autocast=False,
            name="log_alpha",
        )

    def call(self, noise: tf.Tensor | None = None) -> tf.Tensor:
        """The gates; with noise it adds their loss."""
        if noise is not None and self.l0_weight:
            self.add_loss(self.l0_weight * tf.reduce_sum(self.open_probability()))
        return self.gates(noise)

    def draw(self) -> tf.Tensor:
        """Logistic noise for one step, the same on every replica, float32."""
        # XLA makes the same bits as TensorFlow, but other floats of them.
        bits = tf.random.stateless_uniform(
            self.shape,
            tf.cast(self.seed_generator.next(), tf.int32),
            minval=None,
            maxval=None,
            dtype=tf.uint32,
            alg="philox",
        )
        uniform = tf.clip_by_value(tf.cast(bits, tf.float32) / 2**32, 1e-6, 1 - 1e-6)
        return tf.math.log(uniform) - tf.math.log1p(-uniform)

    def gates(self, noise: tf.Tensor | None = None) -> tf.Tensor:
        """What `call` returns, without a loss."""
        if noise is None:
            return self._served_gates()
        log_alpha = tf.convert_to_tensor(self.log_alpha)
        return self._stretched((noise + log_alpha) / self.beta)

    def open_probability(self) -> tf.Tensor:
        """Probability that a gate with noise is not 0, float32, of shape `shape`."""
        shift = self.beta * math.log(-self.gamma / self.zeta)
        return tf.sigmoid(tf.convert_to_tensor(self.log_alpha) - shift)

    @frozen
    def _served_gates(self) -> tf.Tensor:
        return self._stretched(tf.convert_to_tensor(self.log_alpha))

    def _stretched(self, logits: tf.Tensor) -> tf.Tensor:
        stretched = tf.sigmoid(logits) * (self.zeta - self.gamma) + self.gamma
        return tf.clip_by_value(stretched, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "shape": self.shape,
            "beta": self.beta,
            "gamma": self.gamma,
            "zeta": self.zeta,
            "log_alpha_init": self.log_alpha_init,
            "l0_weight": self.l0_weight,
            "seed": self.seed,
        }
