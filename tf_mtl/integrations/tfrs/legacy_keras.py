"""The check that TensorFlow uses Keras 2, on which TensorFlow Recommenders builds."""

import keras
import tensorflow as tf


def require_legacy_keras() -> None:
    """Raises where `tf.keras` is Keras 3.

    Raises:
        ImportError: says what to set.
    """
    if issubclass(tf.keras.Model, keras.Model):
        raise ImportError(
            "`tf_mtl.integrations.tfrs` needs legacy Keras (Keras 2), as TensorFlow "
            f"Recommenders does. Received: `tf.keras` is Keras {keras.__version__}. "
            "Set the environment variable TF_USE_LEGACY_KERAS=1 before TensorFlow is "
            "first imported, for instance `TF_USE_LEGACY_KERAS=1 python train.py`."
        )
