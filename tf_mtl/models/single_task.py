"""SingleTask: independent networks, one per task, computed together."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import FeatureEmbedding, StackedMLP
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("single_task")
@keras.saving.register_keras_serializable(package="tf_mtl")
class SingleTask(MultiTaskModel):
    """The reference without sharing: each task has embeddings and layers of its own.

    All networks are stacked and run in one pass. No variable is shared, so that methods
    that look at gradients give each task its plain gradient; weights of losses apply.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        units: widths of the hidden layers of each network.
        dropout: float in `[0, 1)`, after each hidden layer.

    Raises:
        ValueError: if a trunk or pooling is given, which tasks would share.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        units: Sequence[int] = (256, 128, 64),
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        self.units = tuple(units)
        self.dropout = dropout
        self._refuse_trunk("Train a SharedBottom for each task instead.")
        self.tower = StackedMLP(
            len(self.tasks),
            self.units,
            output_units=1,
            dropout=dropout,
            name="tower",
            **self.stack_arguments,
        )
        self.build_if_adapted()

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Nothing is computed together."""
        del inputs, training
        return {}

    def own_tensors(self, inputs: Mapping[str, tf.Tensor], training: bool) -> Shared:
        """The embeddings of each task."""
        embedded = self.embedding(inputs, training=training)
        return {"embedded": embedded if len(self.tasks) > 1 else embedded[None]}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """The embeddings of each task, `(num_tasks, batch, units)`."""
        return shared["embedded"]

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""
        return self.tower(task_inputs, training=training)[..., 0]

    @property
    def has_shared_variables(self) -> bool:
        """No: each task has embeddings and layers of its own."""
        return False

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}

    def _make_embedding(self) -> FeatureEmbedding:
        copies = len(self.tasks)
        return FeatureEmbedding(
            self.features.features,
            copies,
            l2=self.embedding_l2,
            name="embedding",
            dtype=self.dtype_policy,
        )
