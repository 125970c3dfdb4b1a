"""DRGrad: Split-MMoE with all of its parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import PersonalGate
from tf_mtl.models.registry import register
from tf_mtl.models.split_mmoe import SplitMMoE
from tf_mtl.routing import Router, Updater
from tf_mtl.tasks import Task


@register("drgrad")
@keras.saving.register_keras_serializable(package="tf_mtl")
class DRGrad(SplitMMoE):
    """Split-MMoE with router, updater and, where features are personal, the gate.

    It differs from `SplitMMoE` in these defaults alone: without the three parts it is
    `SplitMMoE`.

    Args:
        features: see `SplitMMoE`.
        tasks: see `SplitMMoE`.
        router: see `SplitMMoE`.
        updater: see `SplitMMoE`; needs a router. Give up both with None.
        personal_gate: see `SplitMMoE`. `"auto"`: True if a feature is personal.
        **kwargs: see `SplitMMoE`.

    Reference:
        Liu et al., Direct Routing Gradient (DRGrad): A Personalized Information Surgery
        for Multi-Task Learning (MTL) Recommendations, AAAI 2025, arXiv:2510.09643.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        router: Router | Mapping[str, Any] | bool | None = True,
        updater: Updater | Mapping[str, Any] | bool | None = True,
        personal_gate: PersonalGate | Mapping[str, Any] | bool | str | None = "auto",
        **kwargs: Any,
    ):
        gate: Any = personal_gate
        if gate == "auto":
            specs = features if isinstance(features, Sequence) else features.features
            gate = any(feature.personal for feature in specs)
        super().__init__(
            features,
            tasks,
            router=router,
            updater=updater,
            personal_gate=gate,
            **kwargs,
        )
