"""PLE and CGC: experts of each task next to shared ones, in levels."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import StackedMLP, mix, mix_gramian
from tf_mtl.layers.gates import DSelectKGate, SoftmaxGate, make_gate
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.models.task_experts import expert_counts, owners_of, streams_of
from tf_mtl.tasks import Task


@register("ple")
@keras.saving.register_keras_serializable(package="tf_mtl")
class PLE(MultiTaskModel):
    """Progressive layered extraction.

    A level has experts for each task, which read the stream of that task, and shared
    experts, which read the shared stream. The gate of a task, by default a softmax of a
    linear function without bias of its stream, mixes its experts and the shared ones to
    its next stream; the shared gate mixes all experts of the level to the next shared
    stream. The last level has no shared gate. All streams start as the embedded
    features.

    Since the shared gates mix the experts of all tasks, those below the last level are
    shared, and so are the gates of tasks up to two levels below it. Private are the
    experts of tasks on the last level, their gates on the last two, and the towers. The
    representation is the output of the shared experts of the last level and that of
    all experts of the level before; with one level, the shared experts' and the
    embedded features.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        num_levels: int. One level is `CGC`.
        num_shared_experts: int. Shared experts of each level.
        num_task_experts: int, or one for each task. Experts of each task on each level.
            A task with fewer than others has unused columns in its gates.
        expert_units: widths of the layers of each expert.
        tower_units: widths of the hidden layers of each tower.
        gate: kind of all gates, see `MMoE`.
        dropout: float in `[0, 1)`, after each hidden layer.

    Raises:
        ValueError: if a number is less than 1, `num_task_experts` has not one number
            for each task, or `gate` is unknown.

    Reference:
        Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning
        (MTL) Model for Personalized Recommendations, RecSys 2020. Public code often
        differs: a shared gate on the last level, which nothing reads; shared gates over
        the shared experts alone; gates that read the embedded features on every level;
        shared experts applied to the stream of each task.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        num_levels: int = 2,
        num_shared_experts: int = 1,
        num_task_experts: int | Sequence[int] = 1,
        expert_units: Sequence[int] = (256,),
        tower_units: Sequence[int] = (64,),
        gate: str | Mapping[str, Any] = "softmax",
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        num_tasks = len(self.tasks)
        for name, value in (
            ("num_levels", num_levels),
            ("num_shared_experts", num_shared_experts),
        ):
            if value < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: {name}={value}."
                )
        counts = expert_counts(num_task_experts, num_tasks)
        self.num_levels = num_levels
        self.num_shared_experts = num_shared_experts
        self.num_task_experts = counts
        self.expert_units = tuple(expert_units)
        self.tower_units = tuple(tower_units)
        self.gate = gate if isinstance(gate, str) else dict(gate)
        self.dropout = dropout
        # Experts of tasks are one stack: those of the first task, then of the second.
        self._owners = owners_of(counts)
        numbers = range(1, num_levels + 1)
        self.task_expert = [
            self._make_expert(len(self._owners), f"task_expert_{n}", n == 1)
            for n in numbers
        ]
        self.shared_expert = [
            self._make_expert(num_shared_experts, f"shared_expert_{n}") for n in numbers
        ]
        # A task with fewer experts than others has no use for some columns.
        mask = [
            [
                e < count or e >= max(counts)
                for e in range(max(counts) + num_shared_experts)
            ]
            for count in counts
        ]
        self.task_gate = [
            self._make_gate(
                num_tasks, len(mask[0]), f"task_gate_{n}", n == 1, mask=mask
            )
            for n in numbers
        ]
        self.shared_gate = [
            self._make_gate(
                1, len(self._owners) + num_shared_experts, f"shared_gate_{n}"
            )
            for n in numbers[:-1]
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

    def slice_tasks(self, variable: keras.Variable) -> tuple[int, ...]:
        """Index of the task that each slice of a stacked variable belongs to."""
        of_experts = {id(weight) for weight in self.task_expert[-1].weights}
        return self._owners if id(variable) in of_experts else self.tower_tasks

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """The shared experts of the last level, and what mixes to the streams into it.

        Returns:
            dict of `experts`, the shared experts of the last level; `streams`, what the
            last gates read that are not part of it, or the embedded features; with
            several levels, `task_experts` and `shared_experts` of the last but one.
        """
        stream = self.embed(inputs, training)
        parts = {"streams": stream}
        for level in range(self.num_levels - 1):
            streams = self._streams(level, parts, training)
            parts = {
                "streams": streams,
                "task_experts": self._task_experts(level, streams, training),
                "shared_experts": self.shared_expert[level](stream, training=training),
            }
            experts = tf.concat([parts["task_experts"], parts["shared_experts"]], 0)
            weights = self.shared_gate[level](stream, training=training)
            stream = mix(tf.cast(weights, experts.dtype), experts)[0]
        experts = self.shared_expert[-1](stream, training=training)
        return {"experts": experts, **parts}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """What the last level reads: the stream of each task, and the shared experts.

        Returns:
            tensor of shape `(num_tasks, batch, width)`.
        """
        experts = shared["experts"]
        if experts.shape.rank == 4:  # A copy for each task.
            shared = self._own_copies(shared)
        else:
            experts = tf.repeat(experts[None], len(self.tasks), axis=0)
        streams = self._streams(self.num_levels - 1, shared, training)
        if streams.shape.rank == 2:
            streams = tf.repeat(streams[None], len(self.tasks), axis=0)
        experts = tf.unstack(experts, axis=1)
        return tf.concat([streams, *experts], axis=-1)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`: the last level, then the towers."""
        streams, experts = self._split(task_inputs)
        own = self._task_experts(-1, streams, training)
        weights = self.task_gate[-1](streams, training=training)
        mixed = self._mix(weights, own, experts)
        return self.tower(mixed, training=training)[..., 0]

    def representation_gramian(
        self, shared: Shared, cotangents: tf.Tensor
    ) -> tf.Tensor:
        """Inner products of the cotangents at the representation.

        An expert of the last level but one gets the cotangent of a stream times its
        weight. Tasks meet at the shared experts only, since the stream of a task reads
        no expert of another.
        """
        if self.num_levels == 1:
            return super().representation_gramian(shared, cotangents)
        at_streams, at_experts = self._split(cotangents)
        weights = self.task_gate[-2](shared["streams"])
        most = max(self.num_task_experts)
        own = tf.reduce_sum(tf.square(weights[..., :most]), axis=-1)
        squares = tf.reduce_sum(tf.square(tf.cast(at_streams, tf.float32)), axis=-1)
        return (
            super().representation_gramian(shared, at_experts)
            + mix_gramian(weights[..., most:], at_streams)
            + tf.linalg.diag(tf.reduce_sum(own * squares, axis=1))
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_levels": self.num_levels,
            "num_shared_experts": self.num_shared_experts,
            "num_task_experts": self.num_task_experts,
            "expert_units": self.expert_units,
            "tower_units": self.tower_units,
            "gate": self.gate,
            "dropout": self.dropout,
        }

    # -- parts of a level --------------------------------------------------------

    def _make_expert(self, count: int, name: str, shared: bool = True) -> StackedMLP:
        return StackedMLP(
            count,
            self.expert_units,
            dropout=self.dropout,
            shared_input=shared,
            name=name,
            **self.stack_arguments,
        )

    def _make_gate(
        self,
        num_gates: int,
        num_experts: int,
        name: str,
        shared: bool = True,
        **kwargs: Any,
    ) -> SoftmaxGate | DSelectKGate:
        return make_gate(
            self.gate,
            num_gates,
            num_experts,
            shared_input=shared,
            name=name,
            dtype=self.dtype_policy,
            **kwargs,
        )

    def _streams(self, level: int, parts: Shared, training: bool) -> tf.Tensor:
        """Streams of the tasks into a level, `(num_tasks, batch, units)`.

        Those into the first are the embedded features, `(batch, units)` or a copy for
        each task.
        """
        if level == 0:
            return parts["streams"]
        weights = self.task_gate[level - 1](parts["streams"], training=training)
        return self._mix(weights, parts["task_experts"], parts["shared_experts"])

    def _task_experts(
        self, level: int, streams: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Experts of all tasks, `(number of them, batch, units)`."""
        if streams.shape.rank == 3:
            streams = streams_of(streams, self._owners)
        return self.task_expert[level](streams, training=training)

    def _mix(
        self, weights: tf.Tensor, task_experts: tf.Tensor, shared_experts: tf.Tensor
    ) -> tf.Tensor:
        """Mixtures of each task, `(num_tasks, batch, units)`."""
        weights = tf.cast(weights, task_experts.dtype)
        counts = self.num_task_experts
        starts = [self._owners.index(task) for task in range(len(counts))]
        terms = []
        for i in range(max(counts)):
            # A task without such an expert gives its first one the weight 0.
            places = [
                start + (i if i < count else 0)
                for start, count in zip(starts, counts, strict=True)
            ]
            own = tf.stack([task_experts[place] for place in places])
            terms.append(weights[..., i, None] * own)
        shared = mix(weights[..., max(counts) :], shared_experts)
        return tf.add_n([*terms, shared])

    def _split(self, task_inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Streams, and shared experts `(num_tasks, number of them, batch, units)`."""
        width = self.num_shared_experts * self.expert_units[-1]
        experts = tf.split(task_inputs[..., -width:], self.num_shared_experts, axis=-1)
        return task_inputs[..., :-width], tf.stack(experts, axis=1)

    def _own_copies(self, copies: Shared) -> Shared:
        """What task `t` reads of copy `t`."""
        own = dict(copies)
        if copies["streams"].shape.rank == 4:
            own["streams"] = _picked(copies["streams"], range(len(self.tasks)))
        if "task_experts" in copies:
            own["task_experts"] = _picked(copies["task_experts"], self._owners)
        return own


@register("cgc")
@keras.saving.register_keras_serializable(package="tf_mtl")
class CGC(PLE):
    """Customized gate control: `PLE` with one level.

    The experts of tasks are task-specific, so that the tasks meet in the shared experts
    and in the embedded features, which together are the representation.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        **kwargs: see `PLE`, without `num_levels`.

    Reference:
        Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning
        (MTL) Model for Personalized Recommendations, RecSys 2020.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        **kwargs: Any,
    ):
        super().__init__(features, tasks, num_levels=1, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        del config["num_levels"]
        return config


def _picked(copies: tf.Tensor, owners: Sequence[int]) -> tf.Tensor:
    """Slice `i` of copy `owners[i]`. Of a gather the gradient would be sparse."""
    return tf.stack([copies[owner, i] for i, owner in enumerate(owners)])
