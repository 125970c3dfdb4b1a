"""TensorFlow Recommenders: its models, trained by any aggregator of ours.

Needs legacy Keras: TF_USE_LEGACY_KERAS=1 in the environment before TensorFlow is first
imported. Layers, models and optimizers are then those of `tf.keras` (Keras 2), and
cannot be mixed with those of `keras` (Keras 3) in one model.
"""

from tf_mtl.integrations.tfrs.legacy_keras import require_legacy_keras

require_legacy_keras()  # What follows fails obscurely without.

from tf_mtl.integrations.tfrs.lazy_adam import LazyAdam  # noqa: E402
from tf_mtl.integrations.tfrs.model import MultiTaskTFRSModel  # noqa: E402

__all__ = ["LazyAdam", "MultiTaskTFRSModel"]
