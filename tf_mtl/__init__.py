"""Multi-task ranking models for Keras with gradient balancing in the train step."""

from tf_mtl import aggregators, features, gradients, layers, models, optimizers
from tf_mtl.models import MultiTask
from tf_mtl.tasks import Task
from tf_mtl.version import __version__

__all__ = [
    "MultiTask",
    "Task",
    "__version__",
    "aggregators",
    "features",
    "gradients",
    "layers",
    "models",
    "optimizers",
]
