"""Shared-Bottom: one bottom network, one tower per task."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import StackedMLP
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("shared_bottom")
@keras.saving.register_keras_serializable(package="tf_mtl")
class SharedBottom(MultiTaskModel):
    """All tasks share the layers up to one representation.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        bottom_units: widths of the shared layers. Empty: what is embedded is the
            representation.
        tower_units: widths of the hidden layers of each tower.
        dropout: float in `[0, 1)`, after each hidden layer.

    Reference:
        Caruana, Multitask Learning, Machine Learning 28, 1997.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        bottom_units: Sequence[int] = (256, 128),
        tower_units: Sequence[int] = (64,),
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        self.bottom_units = tuple(bottom_units)
        self.tower_units = tuple(tower_units)
        self.dropout = dropout
        self.bottom = None
        if self.bottom_units:
            self.bottom = StackedMLP(
                1,
                self.bottom_units,
                dropout=dropout,
                shared_input=True,
                name="bottom",
                **self.stack_arguments,
            )
        self.tower = StackedMLP(
            len(self.tasks),
            self.tower_units,
            output_units=1,
            dropout=dropout,
            name="tower",
            **self.stack_arguments,
        )
        self.build_if_adapted()

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """The representation `(batch, units)`."""
        embedded = self.embed(inputs, training)
        if self.bottom is None:
            return {"representation": embedded}
        return {"representation": self.bottom(embedded, training=training)[0]}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """The representation, once for each task."""
        representation = shared["representation"]
        if representation.shape.rank == 3:
            return representation
        return tf.repeat(representation[None], len(self.tasks), axis=0)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""
        return self.tower(task_inputs, training=training)[..., 0]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "bottom_units": self.bottom_units,
            "tower_units": self.tower_units,
            "dropout": self.dropout,
        }
