"""AITM: a sequence of conversions, where each step is told of the step before."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import (
    ExpectationCalibrator,
    InformationTransfer,
    StackedDense,
    StackedMLP,
)
from tf_mtl.models.base import Shared
from tf_mtl.models.partly_shared import PartlySharedModel, TaskSet
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("aitm")
@keras.saving.register_keras_serializable(package="tf_mtl")
class AITM(PartlySharedModel):
    """Adaptive information transfer multi-task model.

    The tasks are steps of a funnel, in order: impression to click to application to
    approval. Each has a bottom network on the shared embeddings. From the second on, an
    `InformationTransfer` of its own mixes what the bottom gives with what the task
    before found; one linear function makes that a logit. So the loss of a task also
    trains the bottoms and transfers of all tasks before it.

    Labels are cumulative: a row that did a step did all steps before it. The
    `ExpectationCalibrator` relies on it: a loss where a step is found likelier than the
    step before, for each two neighbours that are both binary. It belongs to no single
    task, so that it is added after the aggregation, as a regularisation loss is.

    The representation is what is embedded: on `surface="representation"` lookups and
    trunk alone are walked back once, all other layers once per task.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`; in the order of the funnel.
        bottom_units: widths of the layers of each bottom.
        calibrator_weight: float, not negative. Weight of the calibrator; 0 leaves it
            out.
        stop_gradient: bool. Whether a task keeps its gradient from the tasks before it,
            whose vectors it then only reads.
        dropout: float in `[0, 1)`, after each layer of a bottom and in the transfers.
        **kwargs: see `MultiTaskModel`.

    Raises:
        ValueError: if `bottom_units` is empty or `calibrator_weight` negative.

    Reference:
        Xi et al., Modeling the Sequential Dependence among Audience Multi-step
        Conversions with Multi-task Learning in Targeted Display Advertising, KDD 2021,
        arXiv:2105.08489. After the authors' code: each transition has weights of its
        own, which some public code shares, and a ReLU in the hint, which it leaves out.
        Their dropout differs by layer; their L2 and small normal initial values are not
        taken over.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        bottom_units: Sequence[int] = (128, 64, 32),
        calibrator_weight: float = 0.6,
        stop_gradient: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        num_tasks = len(self.tasks)
        self.bottom_units = tuple(bottom_units)
        self.calibrator_weight = calibrator_weight
        self.stop_gradient = stop_gradient
        self.dropout = dropout
        self.bottom = StackedMLP(
            num_tasks,
            self.bottom_units,
            dropout=dropout,
            shared_input=True,
            name="bottom",
            **self.stack_arguments,
        )
        self.transfers = [
            InformationTransfer(
                dropout, name=f"transfer_{task}", dtype=self.dtype_policy
            )
            for task in range(1, num_tasks)
        ]
        self.tower = StackedDense(
            num_tasks,
            1,
            kernel_regularizer=self.kernel_regularizer,
            name="tower",
            dtype=self.dtype_policy,
        )
        # Places of the later of each two neighbours that both have a probability.
        self._calibrated = [
            place
            for place in range(1, num_tasks)
            if {task.kind for task in self.tasks[place - 1 : place + 1]} == {"binary"}
        ]
        self.calibrator = ExpectationCalibrator(calibrator_weight, name="calibrator")
        # It is called in training alone.
        shape = (len(self._calibrated), None)
        self.calibrator.build(shape, shape)
        self.build_if_adapted()

    def task_sets(self, variable: keras.Variable) -> tuple[TaskSet, ...] | None:
        """A bottom or transfer is reached by its task and all tasks after it."""
        places = range(len(self.tasks))
        alone = tuple(frozenset([place]) for place in places)
        onwards = tuple(frozenset(places[place:]) for place in places)
        if self.stop_gradient:
            onwards = alone
        sets = {id(weight): alone for weight in self.tower.weights}
        sets |= {id(weight): onwards for weight in self.bottom.weights}
        for transfer, reached in zip(self.transfers, onwards[1:], strict=True):
            sets |= {id(weight): (reached,) for weight in transfer.weights}
        return sets.get(id(variable))

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """What is embedded, `(batch, units)`: bottoms differ in who reaches them."""
        return {"representation": self.embed(inputs, training)}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """The vector of each task after the transfer, `(num_tasks, batch, units)`."""
        own = self.bottom(shared["representation"], training=training)
        first, *others = tf.unstack(own, len(self.tasks))
        vectors = [first]
        for transfer, vector in zip(self.transfers, others, strict=True):
            previous = vectors[-1]
            if self.stop_gradient:
                previous = tf.stop_gradient(previous)
            vectors.append(transfer(previous, vector, training=training))
        return tf.stack(vectors)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""
        outputs = self.tower(task_inputs)[..., 0]
        if training and self.calibrator_weight and self._calibrated:
            earlier = tf.stack([outputs[place - 1] for place in self._calibrated])
            later = tf.stack([outputs[place] for place in self._calibrated])
            self.calibrator(earlier, later)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "bottom_units": self.bottom_units,
            "calibrator_weight": self.calibrator_weight,
            "stop_gradient": self.stop_gradient,
            "dropout": self.dropout,
        }
