"""PartlySharedModel: base of architectures in which tasks also meet in their towers."""

import abc
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.gradients.replicas import replica_sum
from tf_mtl.models.base import MultiTaskModel
from tf_mtl.models.passes import Backward, LossesFn, Route, Weigh
from tf_mtl.tasks import read_targets

# Index of the tasks that reach a variable, or a slice of it.
TaskSet = frozenset[int]


class PartlySharedModel(MultiTaskModel):
    """Base of architectures in which tasks also meet above the representations.

    The three functions of `MultiTaskModel` stay, but the loss of one task may reach the
    tower of another. So everything is walked back once per task, and tensors of
    `representations` need not come as copies.

    A fourth function, `task_sets`, says which tasks reach a variable above the
    representations, slice by slice: where towers are stacked the graph cannot tell. A
    slice that several tasks reach is shared, and its rows are zero for the others; a
    slice that one task reaches gets the plain gradient of that task, and is zero in all
    rows. Methods that look at one variable at a time take a stacked variable as one.

    On `surface="representation"` the rows are the gradients at all tensors of
    `representations`; the weights found there apply to whatever several tasks share,
    also above.

    With an aggregator that has both `update_every` and `max_norm`, a limit on a reused
    direction counts the task-specific slices of a variable with its shared ones.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        **kwargs: see `MultiTaskModel`.
    """

    @abc.abstractmethod
    def task_sets(self, variable: keras.Variable) -> tuple[TaskSet, ...] | None:
        """Tasks that reach a variable above the representations.

        Args:
            variable: any trainable variable.

        Returns:
            Sets of task indices: one for each slice of a stacked variable, one for any
            other. None: below the representations, where all tasks reach it.
        """

    def variable_groups(self) -> dict[str, tuple[frozenset[str], ...]]:
        """Which task reaches which variable.

        Returns:
            dict from the path of each trainable variable to the tasks that reach it:
            one set for a whole variable, one set per slice for a stacked one.
        """
        names = [task.name for task in self.tasks]
        return {
            variable.path: tuple(
                frozenset(names[task] for task in tasks)
                for tasks in self._sets(variable)
            )
            for variable in self.trainable_variables
        }

    def gramian(self, inputs: Any, labels: Any) -> tf.Tensor:
        """Gramian of the task gradients for a batch, see `TaskModel`."""
        targets = read_targets(self.tasks, labels)
        _, rows = self._gradients(
            inputs, lambda outputs: self._task_losses(outputs, targets)
        )
        return rows.gramian()

    def task_gradients(
        self, inputs: Any, losses_fn: LossesFn, route: Route | None = None
    ) -> tuple[list[gradients.Gradient], gradients.TaskGradients]:
        """Plain gradients of what one task reaches, slices too; rows of the rest."""
        self._check_no_route(route)
        # An optimizer with slots of tasks works entry by entry, so that a task-specific
        # entry gets its plain rule there; and it takes the gradient of a variable from
        # one place only.
        is_entrywise = self.row_method is not None and self.aggregator.kind == "loss"
        return self._gradients(inputs, losses_fn, is_entrywise)

    def representation_backward(
        self,
        inputs: Any,
        losses_fn: LossesFn,
        weigh: Weigh | None,
        route: Route | None = None,
    ) -> Backward:
        """Rows at the representations, then one pass of the weighted loss."""
        self._check_no_route(route)
        num_tasks = len(self.tasks)
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            shared = self.representations(inputs, training=True)
            leaves = tf.nest.map_structure(tf.stop_gradient, shared)
            tape.watch(leaves)
            outputs = self.towers(self.task_inputs(leaves, True), True)
            penalty = self.penalty()
            losses = losses_fn(tf.unstack(tf.cast(outputs, tf.float32), num_tasks))

        def below(cotangents: dict[str, tf.Tensor | None]) -> list[gradients.Gradient]:
            # TensorFlow takes None for a cotangent of ones.
            known = {name: c for name, c in cotangents.items() if c is not None}
            targets = {name: shared[name] for name in known}
            return tape.gradient(targets, variables, output_gradients=known)

        walks = [tape.gradient(loss, [leaves, variables]) for loss in losses]
        cotangents = {
            name: [at_leaves[name] for at_leaves, _ in walks] for name in leaves
        }
        weights = tf.ones([num_tasks])
        if weigh is not None:
            weights = weigh(replica_sum(_gramian(cotangents.values())))
        own, rows = self._apart([found for _, found in walks])
        above = [
            gradients.add_gradients(plain, _weighted(column, weights))
            for plain, column in zip(own, zip(*rows, strict=True), strict=True)
        ]
        weighted = {name: _weighted(c, weights) for name, c in cotangents.items()}
        found = [
            gradients.add_gradients(*pair)
            for pair in zip(above, below(weighted), strict=True)
        ]
        penalties: list[gradients.Gradient] = [None] * len(variables)
        if penalty is not None:
            at_leaves, own = tape.gradient(penalty, [leaves, variables])
            penalties = [
                gradients.add_gradients(*pair)
                for pair in zip(own, below(at_leaves), strict=True)
            ]
        return Backward(found, [None] * len(variables), penalties)

    def _check_no_route(self, route: Route | None) -> None:
        if route is not None:
            raise ValueError(
                f"`route_fn` of {type(self).__name__} must give None: its towers meet, "
                "so that no gradient at their inputs belongs to one task."
            )

    def _gradients(
        self, inputs: Any, losses_fn: LossesFn, whole_variables: bool = False
    ) -> tuple[list[gradients.Gradient], gradients.TaskGradients]:
        """See `task_gradients`.

        With `whole_variables`, rows of a variable with a shared slice hold its
        task-specific slices too.
        """
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.task_outputs(inputs, training=True)
            penalty = self.penalty()
            losses = losses_fn(outputs)
        by_task = [tape.gradient(loss, variables) for loss in losses]
        own, rows = self._apart(by_task, whole_variables)
        plain = gradients.add_penalty(tape, penalty, own, variables)
        return plain, gradients.stack_rows(rows, variables, same_lookups=True)

    def _apart(
        self,
        by_task: Sequence[Sequence[gradients.Gradient]],
        whole_variables: bool = False,
    ) -> tuple[list[gradients.Gradient], list[Sequence[gradients.Gradient]]]:
        """Plain gradients of task-specific slices, and rows by task of shared ones."""
        own: list[gradients.Gradient] = []
        columns: list[list[gradients.Gradient]] = []
        for variable, column in zip(
            self.trainable_variables, zip(*by_task, strict=True), strict=True
        ):
            sets = self._sets(variable)
            if whole_variables and any(_is_shared(sets)):
                sets = (self._all_tasks,)
            is_shared = _is_shared(sets)
            total = functools.reduce(gradients.add_gradients, column)
            own.append(_chosen(total, [not each for each in is_shared]))
            columns.append(
                [
                    _chosen(gradient, is_shared) if _meets(task, sets) else None
                    for task, gradient in enumerate(column)
                ]
            )
        return own, list(zip(*columns, strict=True))

    def _sets(self, variable: keras.Variable) -> tuple[TaskSet, ...]:
        """Tasks that reach a variable: one set, or one for each slice."""
        return self.task_sets(variable) or (self._all_tasks,)

    @property
    def _all_tasks(self) -> TaskSet:
        return frozenset(range(len(self.tasks)))

    def _check_towers(self) -> None:
        """Refuses sets that do not fit the variables, or go beyond the graph."""
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.task_outputs(self.example_inputs(), training=False)
        rows = [tape.gradient(output, variables) for output in outputs]
        for variable, column in zip(
            self.trainable_variables, zip(*rows, strict=True), strict=True
        ):
            sets = self._sets(variable)
            reached = {t for t, gradient in enumerate(column) if gradient is not None}
            slices = {1, *variable.shape[:1]}
            if len(sets) not in slices or not frozenset().union(*sets) <= reached:
                raise ValueError(
                    f"`task_sets` of {type(self).__name__} must give, for each slice "
                    f"of {variable.path} of shape {tuple(variable.shape)}, tasks among "
                    f"{sorted(reached)}, which reach it. Received: "
                    f"{[sorted(tasks) for tasks in sets]}."
                )


def _is_shared(sets: Sequence[TaskSet]) -> list[bool]:
    return [len(tasks) > 1 for tasks in sets]


def _meets(task: int, sets: Sequence[TaskSet]) -> bool:
    """Whether a task meets another in some slice."""
    return any(task in tasks for tasks in sets if len(tasks) > 1)


def _chosen(
    gradient: gradients.Gradient, is_chosen: Sequence[bool]
) -> gradients.Gradient:
    """Some slices of a gradient, the others zero; None where none is chosen."""
    if gradient is None or not any(is_chosen):
        return None
    if all(is_chosen):
        return gradient
    rank = gradient.shape.rank
    mask = tf.reshape(tf.constant(is_chosen), [-1] + [1] * (rank - 1))
    return tf.where(mask, gradient, tf.zeros_like(gradient))


def _weighted(
    pieces: Sequence[tf.Tensor | None], weights: tf.Tensor
) -> tf.Tensor | None:
    """Sum of weighted pieces by task, None a piece of zeros."""
    terms = [
        tf.cast(weight, piece.dtype) * piece
        for weight, piece in zip(tf.unstack(weights, len(pieces)), pieces, strict=True)
        if piece is not None
    ]
    return tf.add_n(terms) if terms else None


def _gramian(columns: Iterable[Sequence[tf.Tensor | None]]) -> tf.Tensor:
    """Inner products of rows that come in pieces by task, None a piece of zeros."""
    found = []
    for pieces in columns:
        known = next((piece for piece in pieces if piece is not None), None)
        if known is not None:
            rows = tf.stack([tf.zeros_like(known) if p is None else p for p in pieces])
            found.append(gradients.gramian(rows))
    return tf.add_n(found)
