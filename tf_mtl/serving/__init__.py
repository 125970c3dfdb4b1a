"""Serving: a local server that speaks TensorFlow Serving's protocols.

It needs the extra `serving`, and neither Keras nor the models of this package.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tf_mtl.serving.config import ServerConfig

if TYPE_CHECKING:
    from tf_mtl.serving.server import Server
    from tf_mtl.serving.servicer import PredictionServicer

__all__ = ["PredictionServicer", "Server", "ServerConfig"]
_MODULES = {"PredictionServicer": "servicer", "Server": "server"}


def __getattr__(name: str) -> Any:
    """Imports the server on first use: the command line reads the options only."""
    if name not in _MODULES:
        raise AttributeError(f"module 'tf_mtl.serving' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}. Serving needs its extra: pip install '.[serving]' in a "
            "checkout.",
            name=error.name,
        ) from error
    return getattr(module, name)
