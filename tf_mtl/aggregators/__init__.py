"""Aggregators: from the gradients of several tasks to one update direction."""

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.equal_weighting import EqualWeighting
from tf_mtl.aggregators.fixed import FixedWeighting
from tf_mtl.aggregators.gradcraft import GradCraft
from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.pcgrad import PCGrad
from tf_mtl.aggregators.registry import get, names, register
from tf_mtl.aggregators.row_aggregator import RowAggregator
from tf_mtl.aggregators.row_tracking import RowTracking

__all__ = [
    "Aggregator",
    "EqualWeighting",
    "FixedWeighting",
    "GradCraft",
    "GramianWeighting",
    "LossWeighting",
    "PCGrad",
    "RowAggregator",
    "RowTracking",
    "get",
    "names",
    "register",
]
