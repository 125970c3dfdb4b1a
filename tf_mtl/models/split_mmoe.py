"""Split-MMoE: primary tasks with a branch of their own and a shared half."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.features import Feature, Preprocessor
from tf_mtl.gradients.replicas import replica_sum
from tf_mtl.layers import PersonalGate, SoftmaxGate, StackedMLP, mix
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.losses import present_tasks
from tf_mtl.models.parts import config_of, revived
from tf_mtl.models.passes import Route
from tf_mtl.models.registry import register
from tf_mtl.models.task_experts import owners_of, streams_of
from tf_mtl.names import unknown_name_error
from tf_mtl.routing import Router, Routes, Updater
from tf_mtl.tasks import Task, read_targets

Level = Literal["tower_input", "tower_params", "both"]


@register("split_mmoe")
@keras.saving.register_keras_serializable(package="tf_mtl")
class SplitMMoE(MultiTaskModel):
    """MMoE in which every primary task has two towers on two mixtures.

    Gates mix one pool of experts. A gate of its own gives each primary task a dedicated
    vector; one more gate gives the shared vector of all tasks. A primary task has a
    tower on each, whose logits an `Updater` adds; a secondary task has one tower, on
    the shared vector. All towers have the same widths, and both vectors the width of an
    expert, so that a `Router` can compare what arrives at them.

    Tasks with `Task(primary=True)` are primary.

    With a `Gramian` method on `surface="representation"` the representation is the
    output of the shared experts and the shared vector: what gates and dedicated experts
    send into the embeddings is weighted with the rest, but not seen by the method.

    Args:
        features: see `MultiTaskModel`. The embeddings of those with `personal=True`
            feed the gate of `personal_gate`.
        tasks: see `MultiTaskModel`.
        num_experts: int. Default: one more than tasks, at least 4.
        expert_units: widths of the layers of each expert.
        num_dedicated_experts: int. Further experts of each primary task, which its gate
            alone sees, so that they are task-specific.
        tower_units: widths of the hidden layers of each tower.
        router: `Router`, a dict of its arguments such as `{"reading": "literal"}`, its
            config, or True for one with default arguments; routes gradients between the
            towers. None or False: each tower gets its own.
        updater: `Updater`, given likewise, such as `{"rule": "softmax_sum"}`; adds the
            two logits of a primary task. None or False: both count one half.
        level: what is routed. `"tower_input"`: the gradients at the inputs of the
            towers, so that all below takes the routed sum; the towers take their own
            gradient. `"tower_params"`: the gradients of the towers' variables; all
            below takes the plain gradient. `"both"`. An updater goes by the norms of
            what is routed: with `"tower_params"` those of variables, as the paper's
            sigma; with `"both"` those at the inputs.
        personal_gate: `PersonalGate`, given likewise, such as `{"hidden_units": 32,
            "stop_gradient": True}`; rescales the shared vector. None or False: nothing
            does.
        dropout: float in `[0, 1)`, after each hidden layer.

    Raises:
        ValueError: if no task is primary, a number is out of range, a personal gate has
            no personal feature, an updater that learns has no router to learn from, a
            level other than the default has no router or one with `per_example=True`,
            or a dict names unknown arguments.
        TypeError: if `router`, `updater` or `personal_gate` is none of the above.

    Reference:
        Liu et al., Direct Routing Gradient (DRGrad): A Personalized Information Surgery
        for Multi-Task Learning (MTL) Recommendations, AAAI 2025, arXiv:2510.09643.
        `tf_mtl.routing` lists what the paper leaves open.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        num_experts: int | None = None,
        expert_units: Sequence[int] = (256, 128),
        num_dedicated_experts: int = 0,
        tower_units: Sequence[int] = (64,),
        router: Router | Mapping[str, Any] | bool | None = None,
        updater: Updater | Mapping[str, Any] | bool | None = None,
        level: Level = "tower_input",
        personal_gate: PersonalGate | Mapping[str, Any] | bool | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        self.primaries = [i for i, task in enumerate(self.tasks) if task.primary]
        self.secondaries = [i for i, task in enumerate(self.tasks) if not task.primary]
        if not self.primaries:
            raise ValueError(
                "`tasks` must hold a primary task. Received: "
                f"{[task.name for task in self.tasks]}, none with primary=True. "
                "Pass Task(..., primary=True) for those that matter most."
            )
        if num_dedicated_experts < 0:
            raise ValueError(
                "`num_dedicated_experts` must be at least 0. "
                f"Received: num_dedicated_experts={num_dedicated_experts}."
            )
        if num_experts is None:
            num_experts = max(4, len(self.tasks) + 1)
        self.num_experts = num_experts
        self.expert_units = tuple(expert_units)
        self.num_dedicated_experts = num_dedicated_experts
        self.tower_units = tuple(tower_units)
        self.level = level
        self.dropout = dropout
        self.router = revived("router", router, Router)
        self.updater = revived("updater", updater, Updater, name="updater")
        self.updater = self.updater or Updater("fixed", name="updater")
        self._check_level()
        if self.router is None and self.updater.rule != "fixed":
            raise ValueError(
                "`updater` learns from the gradients that a router passes. Received: "
                f"rule={self.updater.rule!r} without `router`. Pass router=Router(), "
                "or updater=None."
            )
        self.personal_gate = self._make_personal_gate(personal_gate)
        self.expert = self._make_expert(num_experts, "expert")
        # Place among the primary tasks of the one that each dedicated expert is of.
        self._owners = owners_of([num_dedicated_experts] * len(self.primaries))
        self.dedicated_expert = None
        if self._owners:
            self.dedicated_expert = self._make_expert(
                len(self._owners), "dedicated_expert"
            )
        self.shared_gate = SoftmaxGate(
            1, num_experts, name="shared_gate", dtype=self.dtype_policy
        )
        self.dedicated_gate = SoftmaxGate(
            len(self.primaries),
            num_experts + num_dedicated_experts,
            name="dedicated_gate",
            dtype=self.dtype_policy,
        )
        self.tower = StackedMLP(
            len(self.tower_tasks),
            self.tower_units,
            output_units=1,
            dropout=dropout,
            name="tower",
            **self.stack_arguments,
        )
        self.build_if_adapted()

    @property
    def branch_tasks(self) -> tuple[int, ...]:
        """Tasks in the order of the towers on the shared vector: primary ones first."""
        return (*self.primaries, *self.secondaries)

    @property
    def tower_tasks(self) -> tuple[int, ...]:
        """Dedicated towers, shared halves, and towers of the secondary tasks."""
        return (*self.primaries, *self.branch_tasks)

    def slice_tasks(self, variable: keras.Variable) -> tuple[int, ...]:
        """Index of the task that each slice of a stacked variable belongs to."""
        if any(variable is weight for weight in self.dedicated_gate.weights):
            return tuple(self.primaries)
        if self.dedicated_expert is not None and any(
            variable is weight for weight in self.dedicated_expert.weights
        ):
            return tuple(self.primaries[place] for place in self._owners)
        return self.tower_tasks

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Shared experts, what is read of the embedded features, the shared vector."""
        vectors = self.feature_vectors(inputs, training)
        embedded = self.join(vectors, training)
        experts = self.expert(embedded, training=training)
        shared = mix(tf.cast(self.shared_gate(embedded), experts.dtype), experts)[0]
        if self.personal_gate is not None:
            personal = [vectors[f.name] for f in self.features.features if f.personal]
            shared = self.personal_gate(shared, tf.concat(personal, axis=-1))
        return {"experts": experts, "embedded": embedded, "shared": shared}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """Dedicated vectors, then the shared vector for each tower on it."""
        experts, embedded = shared["experts"], shared["embedded"]
        vector = shared["shared"]
        if vector.shape.rank == 3:  # A copy for each task.
            experts, embedded = (
                _take(tensor, self.primaries) for tensor in (experts, embedded)
            )
            vector = _take(vector, self.branch_tasks)
        else:
            vector = tf.repeat(vector[None], len(self.tasks), axis=0)
        weights = tf.cast(self.dedicated_gate(embedded), experts.dtype)
        dedicated = mix(weights[..., : self.num_experts], experts)
        if self.dedicated_expert is not None:
            if embedded.shape.rank == 3:
                embedded = streams_of(embedded, self._owners)
            own = self.dedicated_expert(embedded, training=training)
            dedicated += self._mix_own(weights[..., self.num_experts :], own)
        return tf.concat([dedicated, vector], axis=0)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`, both halves of a primary task added."""
        found = self.tower(task_inputs, training=training)[..., 0]
        dedicated, halves, secondary = tf.split(found, self._sizes)
        sums = self.updater(tf.stack([dedicated, halves], axis=1))
        outputs = tf.concat([sums, tf.cast(secondary, sums.dtype)], axis=0)
        return tf.stack([outputs[i] for i in np.argsort(self.branch_tasks)])

    def route_fn(self, present: tf.Tensor, scale: tf.Tensor) -> Route | None:
        """Routes gradients between the towers and tells the updater."""
        if self.router is None:
            return None

        def route(
            cotangents: tf.Tensor, found: list[gradients.Gradient]
        ) -> tuple[tf.Tensor, list[gradients.Gradient]]:
            if self.level != "tower_input":
                routes, found = self._route_variables(found, present)
            if self.level != "tower_params":
                routes, cotangents = self._route_inputs(cotangents, present)
            norms = routes.norms / tf.cast(scale, routes.norms.dtype)
            self.updater.update(norms, tf.gather(present, self.primaries))
            return cotangents, found

        return route

    def routes(self, inputs: Any, labels: Any) -> Routes:
        """What the router does with the gradients of a batch, as a diagnosis.

        Args:
            inputs: as the model takes them.
            labels: as `fit` takes them.

        Returns:
            `Routes` of the gradients that `level` says: at the inputs of the towers,
            also for `"both"`, or of the variables of the towers. Rows are the primary
            tasks and columns the sources: shared halves of the primary tasks, then
            secondary tasks. Losses have their static weights, not those of the
            aggregator. A task without known label is absent, as in training.
        """
        router = self.router or Router()
        targets = read_targets(self.tasks, labels)
        shared = self.representations(inputs, training=False)
        leaf = self.task_inputs(shared, training=False)
        with tf.GradientTape() as tape:
            tape.watch(leaf)
            outputs = tf.unstack(self.towers(leaf, False), len(self.tasks))
            losses = self._task_losses(outputs, targets)
        routed: Any = leaf
        if self.level == "tower_params":
            routed = [variable.value for variable in self.tower.trainable_variables]
        present = tf.gather(present_tasks(targets), self.branch_tasks)
        return router(tape.gradient(losses, routed), len(self.primaries), present)

    def extra_logs(self) -> dict[str, tf.Tensor]:
        """Number of branches that have lost their weight, if they can."""
        if self.updater.rule == "fixed":
            return {}
        dead = tf.math.count_nonzero(self.updater.dead_branches(), dtype=tf.float32)
        return {"dead_branches": dead}

    def representation_gramian(
        self, shared: Shared, cotangents: tf.Tensor
    ) -> tf.Tensor:
        """Inner products at the experts, by the dedicated gates, and at the vector."""
        cotangents = tf.cast(cotangents, tf.float32)
        dedicated, at_vector = tf.split(
            cotangents, [len(self.primaries), len(self.tasks)]
        )
        total = gradients.gramian(at_vector)
        weights = self.dedicated_gate(shared["embedded"])[..., : self.num_experts]
        gates = tf.transpose(weights, [1, 0, 2])
        by_row = tf.transpose(dedicated, [1, 0, 2])
        products = tf.matmul(by_row, by_row, transpose_b=True)
        products *= tf.matmul(gates, gates, transpose_b=True)
        num_secondary = len(self.secondaries)
        total += tf.pad(tf.reduce_sum(products, axis=0), [[0, num_secondary]] * 2)
        places = tf.one_hot(self.branch_tasks, len(self.tasks))
        return tf.matmul(places, total @ places, transpose_a=True)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "expert_units": self.expert_units,
            "num_dedicated_experts": self.num_dedicated_experts,
            "tower_units": self.tower_units,
            "router": self.router and config_of(self.router),
            "updater": config_of(self.updater),
            "level": self.level,
            "personal_gate": self.personal_gate and config_of(self.personal_gate),
            "dropout": self.dropout,
        }

    # -- parts -------------------------------------------------------------------

    def _check_level(self) -> None:
        """Refuses a level that is unknown, or that the router cannot have."""
        if self.level not in get_args(Level):
            raise unknown_name_error("level", self.level, get_args(Level))
        if self.level == "tower_input":
            return
        if self.router is None:
            raise ValueError(
                "`level` says where a router routes. Received: "
                f"level={self.level!r} without `router`. Pass router=Router(), or "
                "leave `level` out."
            )
        if self.router.per_example:
            raise ValueError(
                "`level` must be 'tower_input' for a router with per_example=True: "
                "the gradient of a variable is a sum over the batch. Received: "
                f"level={self.level!r}."
            )

    def _make_expert(self, count: int, name: str) -> StackedMLP:
        return StackedMLP(
            count,
            self.expert_units,
            dropout=self.dropout,
            shared_input=True,
            name=name,
            **self.stack_arguments,
        )

    def _mix_own(self, weights: tf.Tensor, experts: tf.Tensor) -> tf.Tensor:
        """Mixtures of the experts of each primary task, `(num_primary, batch, units)`.

        Args:
            weights: tensor of shape `(num_primary, batch, num_dedicated_experts)`.
            experts: tensor of shape `(num_primary * num_dedicated_experts, batch,
                units)`: those of the first task, then of the second.
        """
        parts, count = tf.unstack(experts), self.num_dedicated_experts
        return tf.add_n(
            [
                weight[..., None] * tf.stack(parts[place::count])
                for place, weight in enumerate(tf.unstack(weights, axis=-1))
            ]
        )

    def _make_personal_gate(self, given: Any) -> PersonalGate | None:
        gate: PersonalGate | None = revived(
            "personal_gate",
            given,
            PersonalGate,
            name="personal_gate",
            dtype=self.dtype_policy,
        )
        if gate is not None and not any(f.personal for f in self.features.features):
            raise ValueError(
                "`personal_gate` needs features with `personal=True`. Received: "
                f"{[f.name for f in self.features.features]}, none of which is. Mark "
                "user, item and author, or pass personal_gate=None."
            )
        return gate

    @property
    def _sizes(self) -> list[int]:
        """Numbers of dedicated towers, shared halves and secondary tasks."""
        return [len(self.primaries), len(self.primaries), len(self.secondaries)]

    def _route_inputs(
        self, cotangents: tf.Tensor, present: tf.Tensor
    ) -> tuple[Routes, tf.Tensor]:
        present = tf.gather(present, self.branch_tasks)
        routes = self.router(cotangents, len(self.primaries), present, replica_sum)
        return routes, routes.gradients

    def _route_variables(
        self, found: list[gradients.Gradient], present: tf.Tensor
    ) -> tuple[Routes, list[gradients.Gradient]]:
        own = {id(variable) for variable in self.tower.trainable_variables}
        places = [i for i, v in enumerate(self.trainable_variables) if id(v) in own]
        summed = [replica_sum(found[i]) for i in places]
        present = tf.gather(present, self.branch_tasks)
        routes = self.router(summed, len(self.primaries), present)
        found = list(found)
        for i, routed in zip(places, routes.gradients, strict=True):
            found[i] = gradients.share_of_replica(routed)
        return routes, found


def _take(tensor: tf.Tensor, places: Sequence[int]) -> tf.Tensor:
    """Slices of the first axis. The gradient of a gather would be `IndexedSlices`."""
    if not places:
        return tensor[:0]
    return tf.stack([tensor[place] for place in places])
