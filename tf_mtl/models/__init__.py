"""Architectures, one per file, and the wrapper for a model of your own."""

from tf_mtl.models.ac_mmoe import ACMMoE
from tf_mtl.models.aitm import AITM
from tf_mtl.models.base import MultiTaskModel
from tf_mtl.models.cross_stitch import CrossStitch
from tf_mtl.models.drgrad import DRGrad
from tf_mtl.models.esmm import ESMM
from tf_mtl.models.feature_model import FeatureModel
from tf_mtl.models.meta_heac import MetaHeac
from tf_mtl.models.mmoe import MMoE
from tf_mtl.models.multi_task import MultiTask
from tf_mtl.models.partly_shared import PartlySharedModel
from tf_mtl.models.pepnet import PEPNet, PPNet
from tf_mtl.models.ple import CGC, PLE
from tf_mtl.models.probability_chain import ProbabilityChain
from tf_mtl.models.registry import get, names, register
from tf_mtl.models.shared_bottom import SharedBottom
from tf_mtl.models.single_task import SingleTask
from tf_mtl.models.snr import SNR, SNRAver
from tf_mtl.models.split_mmoe import SplitMMoE
from tf_mtl.models.stem import STEM
from tf_mtl.models.training import TaskTrainer

__all__ = [
    "AITM",
    "ACMMoE",
    "CGC",
    "CrossStitch",
    "DRGrad",
    "ESMM",
    "FeatureModel",
    "MMoE",
    "MetaHeac",
    "MultiTask",
    "MultiTaskModel",
    "PEPNet",
    "PLE",
    "PPNet",
    "PartlySharedModel",
    "ProbabilityChain",
    "SNR",
    "SNRAver",
    "STEM",
    "SharedBottom",
    "SingleTask",
    "SplitMMoE",
    "TaskTrainer",
    "get",
    "names",
    "register",
]
