"""TFX: models behind a tf.Transform graph, trained by the `run_fn` of a Trainer."""

from tf_mtl.integrations.tfx import preprocessing
from tf_mtl.integrations.tfx.eval_config import make_eval_config
from tf_mtl.integrations.tfx.features import TransformedFeatures
from tf_mtl.integrations.tfx.trainer import train

__all__ = ["TransformedFeatures", "make_eval_config", "preprocessing", "train"]
