"""MultiTaskModel: base of the architectures, cut at the shared representations."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.gradients.replicas import first_replica, replica_sum
from tf_mtl.models.feature_model import FeatureModel
from tf_mtl.models.passes import Backward, LossesFn, Route, Weigh

# Tensors through which all tasks pass, by name.
Shared = dict[str, tf.Tensor]


class MultiTaskModel(FeatureModel):
    """Base of the architectures.

    An architecture is three functions, so that per-task gradients walk each part as
    seldom as possible:

    1. `representations`: model inputs -> the tensors that all tasks share;
    2. `task_inputs`: those -> one tensor per task, which only that task reads;
    3. `towers`: those -> one raw output per task.

    Variables below the representations are shared. Those above are task-specific: each
    belongs to one task, or is stacked and each slice belongs to one task. Towers and
    task inputs are walked back once for all tasks, what is below once per task.

    Where tasks have embeddings of their own, a fourth function makes what comes of
    them: `own_tensors`, which are task-specific too.

    `representations` begins with `embed`: features -> vectors -> pooling of sequences
    -> trunk, one tensor that experts, bottoms and gates read.

    Args:
        features: see `FeatureModel`.
        tasks: sequence of `Task`.
        **kwargs: `trunk`, `pooling`, `activation`, `embedding_l2` and `kernel_l2`, see
            `FeatureModel`.

    Call arguments:
        inputs: dict of model inputs, as `Preprocessor` makes them.
        training: bool.

    Returns:
        dict of raw outputs `(batch,)` by task name: logits of binary tasks.
    """

    # -- the architecture --------------------------------------------------------

    @abc.abstractmethod
    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Tensors that all tasks share, each of shape `(..., batch, units)`."""

    @abc.abstractmethod
    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """What each tower reads: `(num_towers, batch, units)`.

        Tensors of `shared` may come with a leading axis of `num_tasks` equal copies;
        towers of task `t` must then read copy `t` only. Those of `own_tensors` are
        there as well, as they are.
        """

    @abc.abstractmethod
    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""

    def own_tensors(self, inputs: Mapping[str, tf.Tensor], training: bool) -> Shared:
        """What tasks make of the inputs by variables of their own. Here: nothing.

        Returns:
            dict of tensors `(num_tasks, batch, units)`, by names other than those of
            the representations.
        """
        del inputs, training
        return {}

    @property
    def tower_tasks(self) -> tuple[int, ...]:
        """Index of the task that each tower belongs to. Here: one tower per task."""
        return tuple(range(len(self.tasks)))

    def slice_tasks(self, variable: keras.Variable) -> tuple[int, ...]:
        """Index of the task that each slice of a stacked variable belongs to."""
        del variable
        return self.tower_tasks

    def representation_gramian(
        self, shared: Shared, cotangents: tf.Tensor
    ) -> tf.Tensor:
        """Gramian of the task gradients at the shared representation.

        Args:
            shared: what `representations` and `own_tensors` gave.
            cotangents: gradients at `task_inputs`, `(num_towers, batch, units)`.

        Returns:
            float32 tensor of shape `(num_tasks, num_tasks)`. Here: for an architecture
            whose towers all read the representation itself.
        """
        del shared
        return gradients.gramian(cotangents)

    def build(self, input_shape: Any = None) -> None:
        """Creates all variables.

        Raises:
            ValueError: if the features were not adapted, so that the sizes of their
                tables are unknown; or if tasks share variables above the
                representations.
        """
        if self.built:
            return
        super().build(input_shape)
        # Under a strategy, gradients can be taken inside of its steps only.
        if self.has_shared_variables and not tf.distribute.has_strategy():
            self._check_towers()

    # -- forward and backward ----------------------------------------------------

    def task_outputs(self, inputs: Any, training: bool) -> list[tf.Tensor]:
        """Raw outputs by task, each float32 of shape `(batch,)`."""
        shared = self.representations(inputs, training)
        shared = {**shared, **self.own_tensors(inputs, training)}
        outputs = self.towers(self.task_inputs(shared, training), training)
        return tf.unstack(tf.cast(outputs, tf.float32), len(self.tasks))

    def variable_groups(self) -> dict[str, tuple[frozenset[str], ...]]:
        """Which task reaches which variable.

        Returns:
            dict from the path of each trainable variable to the tasks that reach it:
            one set for a whole variable; for a stacked variable, whose slices belong
            to one task each, one set per task.
        """
        names = [task.name for task in self.tasks]
        variables = [first_replica(v.value) for v in self.trainable_variables]
        with tf.GradientTape() as tape:
            shared = self.representations(self.example_inputs(), training=False)
        below = tape.gradient(list(shared.values()), variables)
        whole = (frozenset(names),)
        return {
            v.path: (
                tuple(frozenset([names[t]]) for t in self.slice_tasks(v))
                if gradient is None
                else whole
            )
            for v, gradient in zip(self.trainable_variables, below, strict=True)
        }

    def shared_variables(self) -> list[keras.Variable] | None:
        """Variables with a part that several tasks reach; None before `build`."""
        if not self.built:
            return None
        groups = self.variable_groups()
        return [
            variable
            for variable in self.trainable_variables
            if any(len(tasks) > 1 for tasks in groups[variable.path])
        ]

    def task_gradients(
        self, inputs: Any, losses_fn: LossesFn, route: Route | None = None
    ) -> tuple[list[gradients.Gradient], gradients.TaskGradients]:
        """Plain gradients of task-specific variables, and rows of shared ones."""
        num_tasks = len(self.tasks)
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            shared = self.representations(inputs, training=True)
            # Each task reads a copy of its own: one walk back gives the cotangents of
            # all tasks, apart.
            copies = {
                name: tf.repeat(tf.stop_gradient(tensor)[None], num_tasks, axis=0)
                for name, tensor in shared.items()
            }
            tape.watch(copies)
            read = self.task_inputs({**copies, **self.own_tensors(inputs, True)}, True)
            leaf = tf.stop_gradient(read)
            tape.watch(leaf)
            outputs = self.towers(leaf, True)
            penalty = self.penalty()
            losses = losses_fn(tf.unstack(outputs, num_tasks))
        at_towers, own = tape.gradient(losses, [leaf, variables])
        if route is not None:
            at_towers, own = route(at_towers, own)
        found, below = tape.gradient(
            read, [copies, variables], output_gradients=at_towers
        )
        own = [gradients.add_gradients(*pair) for pair in zip(own, below, strict=True)]
        cotangents = {
            name: tf.zeros_like(copies[name]) if cotangent is None else cotangent
            for name, cotangent in found.items()
        }
        rows = gradients.pull_back(
            tape,
            shared,
            [{name: c[t] for name, c in cotangents.items()} for t in range(num_tasks)],
            variables,
        )
        self._check_task_specific(own, rows[0])
        plain = gradients.add_penalty(tape, penalty, own, variables)
        return plain, gradients.stack_rows(rows, variables, same_lookups=True)

    def representation_backward(
        self,
        inputs: Any,
        losses_fn: LossesFn,
        weigh: Weigh | None,
        route: Route | None = None,
    ) -> Backward:
        """One pass of the towers, weights, one pass of everything below."""
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            shared = self.representations(inputs, training=True)
            tensors = {**shared, **self.own_tensors(inputs, True)}
            read = self.task_inputs(tensors, True)
            leaf = tf.stop_gradient(read)
            tape.watch(leaf)
            outputs = self.towers(leaf, True)
            penalty = self.penalty()
            losses = losses_fn(tf.unstack(outputs, len(self.tasks)))
        cotangents, found = tape.gradient(losses, [leaf, variables])
        if route is not None:
            cotangents, found = route(cotangents, found)
        walks = [(list(range(len(variables))), cotangents)]
        if weigh is not None:
            weights = weigh(
                replica_sum(self.representation_gramian(tensors, cotangents))
            )
            weighted = self._weighted_cotangents(cotangents, weights)
            # Below the towers, task-specific variables (gates) take the plain
            # cotangents and shared ones take the weighted.
            reached = tape.gradient(list(shared.values()), variables)
            plain_ones = [i for i, g in enumerate(reached) if g is None]
            shared_ones = [i for i, g in enumerate(reached) if g is not None]
            walks = [(plain_ones, cotangents), (shared_ones, weighted)]
        for places, cotangent in walks:
            below = tape.gradient(
                read, [variables[i] for i in places], output_gradients=cotangent
            )
            for i, gradient in zip(places, below, strict=True):
                found[i] = gradients.add_gradients(found[i], gradient)
        none: list[gradients.Gradient] = [None] * len(variables)
        penalties = gradients.add_penalty(tape, penalty, none, variables)
        return Backward(found, none, penalties)

    def _weighted_cotangents(
        self, cotangents: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        """Cotangents of each tower times the weight of its task."""
        weights = tf.gather(weights, self.tower_tasks)
        # A product with a diagonal matrix, since XLA would fuse an elementwise one into
        # all that follows and compute it over and over.
        scale = tf.linalg.diag(tf.cast(weights, cotangents.dtype))
        return tf.tensordot(scale, cotangents, 1)

    def _check_towers(self) -> None:
        """Refuses a variable above the representations that several tasks share."""
        example, num_tasks = self.example_inputs(), len(self.tasks)
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            shared = {
                name: tf.stop_gradient(tensor)
                for name, tensor in self.representations(example, False).items()
            }
            shared |= self.own_tensors(example, False)
            outputs = self.towers(self.task_inputs(shared, False), False)
            outputs = tf.unstack(outputs, num_tasks)
        reached = zip(*[tape.gradient(o, variables) for o in outputs], strict=True)
        # Columns of these belong to one task each.
        own = {id(v) for layer in self.own_embeddings for v in layer.variables}
        wrong = [
            v.path
            for v, found in zip(self.trainable_variables, reached, strict=True)
            if sum(g is not None for g in found) > 1
            and v.shape[0] != len(self.slice_tasks(v))
            and id(v) not in own
        ]
        if wrong:
            raise ValueError(
                f"{type(self).__name__} shares variables above its representations: "
                f"{wrong}. Compute what they give in `representations`, stack them: "
                "`(num_tasks, ...)`, see `slice_tasks`, or make the class a "
                "`PartlySharedModel`."
            )

    def _check_task_specific(
        self,
        own: Sequence[gradients.Gradient],
        row: Sequence[gradients.Gradient],
    ) -> None:
        both = [
            v.path
            for v, plain, shared in zip(self.trainable_variables, own, row, strict=True)
            if plain is not None and shared is not None
        ]
        if both:
            raise ValueError(
                f"{type(self).__name__} uses variables both below its representations "
                f"and above: {both}. Make what they compute a representation."
            )
