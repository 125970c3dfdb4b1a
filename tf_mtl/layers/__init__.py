"""Building blocks of the architectures."""

from tf_mtl.layers.dropout import Dropout
from tf_mtl.layers.dselect_k import DSelectKGate
from tf_mtl.layers.embeddings import FeatureEmbedding, pool
from tf_mtl.layers.expert_interaction import ExpertAttention, ExpertConvolution
from tf_mtl.layers.initializers import PerSlice
from tf_mtl.layers.interaction import Interaction
from tf_mtl.layers.mixture import mix, mix_gramian
from tf_mtl.layers.personal_gate import PersonalGate
from tf_mtl.layers.stacked import StackedDense, StackedMLP

__all__ = [
    "DSelectKGate",
    "Dropout",
    "ExpertAttention",
    "ExpertConvolution",
    "FeatureEmbedding",
    "Interaction",
    "PerSlice",
    "PersonalGate",
    "StackedDense",
    "StackedMLP",
    "mix",
    "mix_gramian",
    "pool",
]
