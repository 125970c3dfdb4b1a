"""ESMM: conversions over the entire space of impressions."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.models.base import MultiTaskModel
from tf_mtl.models.probability_chain import ProbabilityChain
from tf_mtl.models.registry import register
from tf_mtl.models.shared_bottom import SharedBottom
from tf_mtl.tasks import Task


@register("esmm")
@keras.saving.register_keras_serializable(package="tf_mtl")
class ESMM(ProbabilityChain):
    """Entire-space multi-task model: towers on shared embeddings, chained.

    A `ProbabilityChain` on a `SharedBottom` without bottom, which says what labels
    mean and what is served. Of two tasks `click` and `buy`, `buy` is the probability of
    a click with purchase, the paper's pCTCVR; `buy_given_click` is its pCVR.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        parents: see `ProbabilityChain`. None: the parent of each binary task is the
            binary task before it.
        tower_units: widths of the hidden layers of each tower.
        dropout: float in `[0, 1)`, after each hidden layer.
        **kwargs: see `MultiTaskModel`.

    Raises:
        ValueError: see `ProbabilityChain`.

    Reference:
        Ma et al., Entire Space Multi-Task Model: An Effective Approach for Estimating
        Post-Click Conversion Rate, SIGIR 2018, arXiv:1804.07931. Differs: each tower
        ends in one logit, where the paper has a softmax over two, which is the same.
        Some public code sums losses over the batch, so that a larger batch takes larger
        steps; here they are means.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        parents: Mapping[str, str] | None = None,
        tower_units: Sequence[int] = (360, 200, 80),
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        name = kwargs.pop("name", "esmm")
        model = SharedBottom(
            features,
            tasks,
            bottom_units=(),
            tower_units=tower_units,
            dropout=dropout,
            name=name,
            **kwargs,
        )
        if parents is None:
            names = [task.name for task in model.tasks if task.kind == "binary"]
            parents = dict(zip(names[1:], names, strict=False))
        super().__init__(model, parents, name=name, dtype=model.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = self.model.get_config()
        del config["bottom_units"]
        return {**config, "parents": self.parents}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Any = None
    ) -> MultiTaskModel:
        """Inverse of `get_config`."""
        return super(ProbabilityChain, cls).from_config(config, custom_objects)
