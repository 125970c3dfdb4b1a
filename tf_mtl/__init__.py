"""Multi-task ranking models for Keras with gradient balancing in the train step."""

from tf_mtl.version import __version__

__all__ = ["__version__"]
