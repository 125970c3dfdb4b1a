"""Aggregators: from the gradients of several tasks to one update direction."""

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.equal_weighting import EqualWeighting
from tf_mtl.aggregators.fixed import FixedWeighting
from tf_mtl.aggregators.gradcraft import GradCraft
from tf_mtl.aggregators.kinds import GramianWeighting, LossWeighting, RowAggregator
from tf_mtl.aggregators.pcgrad import PCGrad
from tf_mtl.aggregators.registry import get, names, register

__all__ = [
    "Aggregator",
    "EqualWeighting",
    "FixedWeighting",
    "GradCraft",
    "GramianWeighting",
    "LossWeighting",
    "PCGrad",
    "RowAggregator",
    "get",
    "names",
    "register",
]
