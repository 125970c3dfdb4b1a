"""Building blocks of the architectures."""

from tf_mtl.layers.compressed_interaction import CompressedInteraction
from tf_mtl.layers.cross_network import CrossNetwork
from tf_mtl.layers.dice import Dice
from tf_mtl.layers.dropout import Dropout
from tf_mtl.layers.dselect_k import DSelectKGate
from tf_mtl.layers.embeddings import FeatureEmbedding, pool
from tf_mtl.layers.expectation_calibrator import ExpectationCalibrator
from tf_mtl.layers.expert_interaction import ExpertAttention, ExpertConvolution
from tf_mtl.layers.factorization_machine import FactorizationMachine
from tf_mtl.layers.fused_attention import FusedAttention
from tf_mtl.layers.gates import SoftmaxGate
from tf_mtl.layers.hard_concrete import HardConcreteGate
from tf_mtl.layers.information_transfer import InformationTransfer
from tf_mtl.layers.initializers import PerSlice
from tf_mtl.layers.interaction import Interaction
from tf_mtl.layers.mixture import mix, mix_gramian, mix_own
from tf_mtl.layers.personal_gate import PersonalGate
from tf_mtl.layers.personal_mlp import PersonalMLP
from tf_mtl.layers.registry import get, names, register
from tf_mtl.layers.relevance_search import RelevanceSearch
from tf_mtl.layers.stacked import StackedDense, StackedMLP
from tf_mtl.layers.stitch import CrossStitchUnit, stitch, stitch_gramian
from tf_mtl.layers.sub_network_routing import SubNetworkRouting
from tf_mtl.layers.target_attention import TargetAttention
from tf_mtl.layers.task_gate import TaskGate

__all__ = [
    "CompressedInteraction",
    "CrossNetwork",
    "CrossStitchUnit",
    "DSelectKGate",
    "Dice",
    "Dropout",
    "ExpectationCalibrator",
    "ExpertAttention",
    "ExpertConvolution",
    "FactorizationMachine",
    "FeatureEmbedding",
    "FusedAttention",
    "HardConcreteGate",
    "InformationTransfer",
    "Interaction",
    "PerSlice",
    "PersonalGate",
    "PersonalMLP",
    "RelevanceSearch",
    "SoftmaxGate",
    "StackedDense",
    "StackedMLP",
    "SubNetworkRouting",
    "TargetAttention",
    "TaskGate",
    "get",
    "mix",
    "mix_gramian",
    "mix_own",
    "names",
    "pool",
    "register",
    "stitch",
    "stitch_gramian",
]
