"""Aggregators: from the gradients of several tasks to one update direction."""

from tf_mtl.aggregators.aggregation import Aggregation
from tf_mtl.aggregators.aligned_mtl import AlignedMTL
from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.cagrad import CAGrad
from tf_mtl.aggregators.config import ConFIG
from tf_mtl.aggregators.dbmtl import DBMTL
from tf_mtl.aggregators.dualproj import DualProj
from tf_mtl.aggregators.dwa import DynamicWeightAverage
from tf_mtl.aggregators.equal_weighting import EqualWeighting
from tf_mtl.aggregators.excess_mtl import ExcessMTL
from tf_mtl.aggregators.fairgrad import FairGrad
from tf_mtl.aggregators.famo import FAMO
from tf_mtl.aggregators.fixed import FixedWeighting
from tf_mtl.aggregators.gls import GeometricLoss
from tf_mtl.aggregators.gradcraft import GradCraft
from tf_mtl.aggregators.graddrop import GradDrop
from tf_mtl.aggregators.gradnorm import GradNorm
from tf_mtl.aggregators.gradvac import GradVac
from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.igb_v1 import IGBv1
from tf_mtl.aggregators.igb_v2 import IGBv2
from tf_mtl.aggregators.imtl import IMTL
from tf_mtl.aggregators.imtl_g import IMTLG
from tf_mtl.aggregators.imtl_l import IMTLL
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.metabalance import MetaBalance
from tf_mtl.aggregators.mgda import MGDA
from tf_mtl.aggregators.moco import MoCo
from tf_mtl.aggregators.nash_mtl import NashMTL
from tf_mtl.aggregators.pcgrad import PCGrad
from tf_mtl.aggregators.pcgrad_plus import PCGradPlus
from tf_mtl.aggregators.registry import get, get_class, names, register
from tf_mtl.aggregators.rgw import RandomGradientWeighting
from tf_mtl.aggregators.rlw import RandomLossWeighting
from tf_mtl.aggregators.row_aggregator import RowAggregator
from tf_mtl.aggregators.row_tracking import RowTracking
from tf_mtl.aggregators.sdmgrad import SDMGrad
from tf_mtl.aggregators.single import Single
from tf_mtl.aggregators.stch import SmoothTchebycheff
from tf_mtl.aggregators.upgrad import UPGrad
from tf_mtl.aggregators.uw import UncertaintyWeighting

__all__ = [
    "Aggregation",
    "Aggregator",
    "AlignedMTL",
    "CAGrad",
    "ConFIG",
    "DBMTL",
    "DualProj",
    "DynamicWeightAverage",
    "EqualWeighting",
    "ExcessMTL",
    "FAMO",
    "FairGrad",
    "FixedWeighting",
    "GeometricLoss",
    "GradCraft",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GramianWeighting",
    "IGBv1",
    "IGBv2",
    "IMTL",
    "IMTLG",
    "IMTLL",
    "LossWeighting",
    "MGDA",
    "MetaBalance",
    "MoCo",
    "NashMTL",
    "PCGrad",
    "PCGradPlus",
    "RandomGradientWeighting",
    "RandomLossWeighting",
    "RowAggregator",
    "RowTracking",
    "SDMGrad",
    "Single",
    "SmoothTchebycheff",
    "UPGrad",
    "UncertaintyWeighting",
    "get",
    "get_class",
    "names",
    "register",
]
