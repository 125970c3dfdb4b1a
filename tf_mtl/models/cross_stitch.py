"""Cross-stitch: a network of its own for each task, stitched together by layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import CrossStitchUnit, StackedMLP
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("cross_stitch")
@keras.saving.register_keras_serializable(package="tf_mtl")
class CrossStitch(MultiTaskModel):
    """Cross-stitch network.

    Each task has dense layers of its own. After each of them, the network of a
    task goes on with a weighted sum of the layers of all tasks, mostly with its own at
    the start.

    Since every layer below a stitch reaches all tasks, it is shared, and so are all
    stitches but the last, whose rows are task-specific. The representation is what the
    last stitch reads.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        stitched_units: widths of the layers that end in a stitch.
        tower_units: widths of the hidden layers above the last stitch.
        diagonal: float in `(0, 1]`. Weight of a task in its own network at the start;
            the other tasks share the rest.
        per_channel: bool. One weight for each unit, instead of one for a layer.
        dropout: float in `[0, 1)`, after each hidden layer.

    Raises:
        ValueError: if `stitched_units` is empty or `diagonal` out of range.

    Reference:
        Misra et al., Cross-Stitch Networks for Multi-Task Learning, CVPR 2016,
        arXiv:1604.03539. There the stitches learn faster than all else; here they have
        the same learning rate, and the tasks one embedding. Public code often starts
        them with ones, which makes all tasks read the same sum.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        stitched_units: Sequence[int] = (256, 128),
        tower_units: Sequence[int] = (64,),
        diagonal: float = 0.9,
        per_channel: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        if not stitched_units:
            raise ValueError(
                "`stitched_units` must hold the width of at least one layer. "
                f"Received: stitched_units={stitched_units}. Without a stitch the "
                "model would be SharedBottom(bottom_units=())."
            )
        num_tasks = len(self.tasks)
        self.stitched_units = tuple(stitched_units)
        self.tower_units = tuple(tower_units)
        self.diagonal = diagonal
        self.per_channel = per_channel
        self.dropout = dropout
        self.layer = [
            StackedMLP(
                num_tasks,
                (units,),
                dropout=dropout,
                shared_input=number == 1,
                name=f"layer_{number}",
                **self.stack_arguments,
            )
            for number, units in enumerate(self.stitched_units, 1)
        ]
        self.stitch = [
            CrossStitchUnit(
                diagonal, per_channel, name=f"stitch_{number}", dtype=self.dtype_policy
            )
            for number in range(1, len(self.layer) + 1)
        ]
        self.tower = StackedMLP(
            num_tasks,
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
        """What the last stitch reads, `(num_tasks, batch, units)`."""
        outputs = self.layer[0](self.embed(inputs, training), training=training)
        for stitch, layer in zip(self.stitch, self.layer[1:], strict=False):
            outputs = layer(stitch(outputs), training=training)
        return {"layers": outputs}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """What the last stitch gives each task, `(num_tasks, batch, units)`."""
        return self.stitch[-1](shared["layers"])

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""
        return self.tower(task_inputs, training=training)[..., 0]

    def representation_gramian(
        self, shared: Shared, cotangents: tf.Tensor
    ) -> tf.Tensor:
        """Inner products of the cotangents at what the last stitch reads."""
        return self.stitch[-1].gramian(cotangents)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "stitched_units": self.stitched_units,
            "tower_units": self.tower_units,
            "diagonal": self.diagonal,
            "per_channel": self.per_channel,
            "dropout": self.dropout,
        }
