"""Multi-task ranking models for Keras with gradient balancing in the train step."""

import importlib
from typing import TYPE_CHECKING, Any

from tf_mtl.version import __version__

if TYPE_CHECKING:
    from tf_mtl import (
        aggregators,
        callbacks,
        datasets,
        export,
        features,
        gradients,
        layers,
        metrics,
        models,
        optimizers,
        routing,
        serving,
    )
    from tf_mtl.models import MultiTask
    from tf_mtl.tasks import Task

__all__ = [
    "MultiTask",
    "Task",
    "__version__",
    "aggregators",
    "callbacks",
    "datasets",
    "export",
    "features",
    "gradients",
    "layers",
    "metrics",
    "models",
    "optimizers",
    "routing",
    "serving",
]

_HOMES = {"MultiTask": "tf_mtl.models", "Task": "tf_mtl.tasks"}


def __getattr__(name: str) -> Any:
    """Imports a room on first use: TensorFlow alone takes seconds."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"tf_mtl.{name}")
    raise AttributeError(f"module 'tf_mtl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
