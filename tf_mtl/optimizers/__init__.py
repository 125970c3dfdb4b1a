"""Optimizers whose step costs the looked-up rows of a table, not all of them."""

from tf_mtl.optimizers.base import LazyOptimizer
from tf_mtl.optimizers.lazy_adagrad import LazyAdagrad
from tf_mtl.optimizers.lazy_adam import LazyAdam
from tf_mtl.optimizers.lazy_sgd import LazySGD

__all__ = ["LazyAdagrad", "LazyAdam", "LazyOptimizer", "LazySGD"]
