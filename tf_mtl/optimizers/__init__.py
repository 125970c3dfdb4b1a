"""Optimizers whose step costs the looked-up rows of a table, not all of them."""

from tf_mtl.optimizers.ada_task import AdaTask
from tf_mtl.optimizers.base import LazyOptimizer
from tf_mtl.optimizers.lazy_adagrad import LazyAdagrad
from tf_mtl.optimizers.lazy_adam import LazyAdam
from tf_mtl.optimizers.lazy_sgd import LazySGD
from tf_mtl.optimizers.taskwise import TaskwiseOptimizer

__all__ = [
    "AdaTask",
    "LazyAdagrad",
    "LazyAdam",
    "LazyOptimizer",
    "LazySGD",
    "TaskwiseOptimizer",
]
