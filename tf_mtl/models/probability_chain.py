"""ProbabilityChain: tasks that happen only after another one did."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers import FeatureEmbedding
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.partly_shared import PartlySharedModel, TaskSet
from tf_mtl.tasks import Task

# What the chain has of its model, and does not save itself.
_OF_THE_MODEL = (
    "features",
    "tasks",
    "trunk",
    "pooling",
    "activation",
    "embedding_l2",
    "kernel_l2",
)


@keras.saving.register_keras_serializable(package="tf_mtl")
class ProbabilityChain(PartlySharedModel):
    """Makes the probability of a task that of its parent times its own.

    What the tower of a task with a parent gives is a conditional probability: of a
    purchase, say, given the click. The output of the task is the probability that both
    happen. So all rows of the batch train it, not the clicked ones alone, and what it
    learns holds for all.

    The label of a task with a parent is then "this and its parent happened", for every
    row: 0 where the parent did not. A row with this but not its parent contradicts
    itself; drop it, or repair the parent's label.

    Both losses reach the tower of the parent, which is a shared variable.

    `predictions`, `predict` and an export hold the conditional probabilities as well,
    each as `<task>_given_<parent>`: `buy_given_click`.

    Args:
        model: `MultiTaskModel` whose tasks are chained. Only the chain is compiled,
            trained and saved.
        parents: dict from the name of a task to that of its parent. A parent may have a
            parent itself; tasks that are not named stay as they are.

    Raises:
        ValueError: if `parents` names unknown tasks, tasks that are not binary, or is a
            cycle; an output would take the name of a task; or `model` shares nothing,
            routes gradients between its towers, or has towers that meet already.
        TypeError: if `model` is no `MultiTaskModel`.

    Example:
    >>> features = [tf_mtl.features.IntegerRange("item", num_values=9)]
    >>> tasks = [tf_mtl.Task("click"), tf_mtl.Task("buy", label="click_and_buy")]
    >>> model = tf_mtl.models.MMoE(features, tasks)
    >>> model = tf_mtl.models.ProbabilityChain(model, parents={"buy": "click"})

    Reference:
        Ma et al., Entire Space Multi-Task Model, SIGIR 2018, arXiv:1804.07931, for any
        architecture and number of tasks. Logits of products are exact where every
        probability is near 0 or 1. In some public code the logits are multiplied, not
        the probabilities.
    """

    def __init__(
        self, model: MultiTaskModel, parents: Mapping[str, str], **kwargs: Any
    ):
        if not isinstance(model, MultiTaskModel):
            raise TypeError(
                "`model` must be a `MultiTaskModel`, such as MMoE. "
                f"Received: {type(model).__name__}."
            )
        _check_model(model)
        # The base asks for the embedding of the model.
        self.model = model
        super().__init__(
            **{name: getattr(model, name) for name in _OF_THE_MODEL}, **kwargs
        )
        self.parents = dict(parents)
        self._links = _links(self.tasks, self.parents)
        self.build_if_adapted()

    def build(self, input_shape: Any = None) -> None:
        """Builds the model, see `MultiTaskModel.build`."""
        known = self.get_build_config()
        self.model.build_from_config(known or {"tables": self.features.tables()})
        # Keras prints the shapes of a layer that was built with an argument.
        self.model.build(None)
        super().build(input_shape)

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Those of the model."""
        return self.model.representations(inputs, training)

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """Those of the model."""
        return self.model.task_inputs(shared, training)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`, float32, those of the model chained."""
        return tf.stack(self._chained(self._own_outputs(task_inputs, training)))

    def predictions(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Probabilities by task name, and conditional ones by `<task>_given_<parent>`.

        Returns:
            dict of float32 tensors of shape `(batch,)`.
        """
        shared = self.representations(inputs, training=False)
        own = self._own_outputs(self.task_inputs(shared, False), training=False)
        found = {
            task.name: task.predictions(output)
            for task, output in zip(self.tasks, self._chained(own), strict=True)
        }
        for child, parent in self._links:
            name = _conditional(self.tasks[child].name, self.tasks[parent].name)
            found[name] = tf.sigmoid(own[child])
        return found

    def task_sets(self, variable: keras.Variable) -> tuple[TaskSet, ...]:
        """Those of the model, and the tasks further down the chain."""
        places = {task.name: place for place, task in enumerate(self.tasks)}
        return tuple(
            self._with_descendants(places[name] for name in names)
            for names in self._model_groups[variable.path]
        )

    def extra_logs(self) -> dict[str, tf.Tensor]:
        """Those of the model."""
        return self.model.extra_logs()

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        for inherited in _OF_THE_MODEL:
            del config[inherited]
        model = keras.saving.serialize_keras_object(self.model)
        return {**config, "model": model, "parents": self.parents}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Any = None
    ) -> "ProbabilityChain":
        """Inverse of `get_config`."""
        del custom_objects
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})

    def _make_embedding(self) -> FeatureEmbedding:
        return self.model.embedding

    @functools.cached_property
    def _model_groups(self) -> dict[str, tuple[frozenset[str], ...]]:
        return self.model.variable_groups()

    def _own_outputs(self, task_inputs: tf.Tensor, training: bool) -> list[tf.Tensor]:
        """Raw outputs of the model by task, float32."""
        outputs = self.model.towers(task_inputs, training)
        return tf.unstack(tf.cast(outputs, tf.float32), len(self.tasks))

    def _chained(self, own: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        outputs = list(own)
        for child, parent in self._links:
            outputs[child] = joint_logit(own[child], outputs[parent])
        return outputs

    def _with_descendants(self, tasks: Any) -> TaskSet:
        found = set(tasks)
        for child, parent in self._links:
            if parent in found:
                found.add(child)
        return frozenset(found)


def joint_logit(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Logit of the product of two probabilities, from their logits.

    With `p = sigmoid(a) sigmoid(b)`, `(1 - p) / p = exp(-a) + exp(-b) + exp(-a - b)`.
    No probability is formed, so that none rounds to 0 or 1.

    Args:
        first: float tensor.
        second: float tensor of the same shape.

    Returns:
        tensor of that shape.
    """
    terms = tf.stack([-first, -second, -(first + second)])
    return -tf.reduce_logsumexp(terms, axis=0)


def _conditional(child: str, parent: str) -> str:
    return f"{child}_given_{parent}"


def _check_model(model: MultiTaskModel) -> None:
    num_tasks = len(model.tasks)
    if not model.has_shared_variables:
        raise ValueError(
            "`model` must share variables between its tasks. Received: "
            f"{type(model).__name__}. Use SharedBottom."
        )
    if model.own_embeddings:
        raise ValueError(
            "`model` must have embeddings that its tasks share, which the chain would "
            f"share in part. Received: {type(model).__name__}. Use CGC."
        )
    if isinstance(model, PartlySharedModel):
        raise ValueError(
            "`model` must have towers that belong to one task each, which the chain "
            f"then joins. Received: {type(model).__name__}, whose towers meet already."
        )
    if model.route_fn(tf.ones([num_tasks], tf.bool), tf.ones([])) is not None:
        raise ValueError(
            "`model` must not route gradients between its towers, which no longer "
            f"belong to one task each. Received: {type(model).__name__}. Pass "
            "SplitMMoE(..., router=None)."
        )


def _links(
    tasks: Sequence[Task], parents: Mapping[str, str]
) -> tuple[tuple[int, int], ...]:
    """Pairs of child and parent by place, a parent's own link before its children's."""
    names = [task.name for task in tasks]
    chained = {*parents, *parents.values()}
    unknown = sorted(chained - set(names))
    if unknown:
        raise ValueError(
            f"`parents` must name tasks. Received: {unknown}. Known tasks: {names}."
        )
    wrong = [t.name for t in tasks if t.name in chained and t.kind != "binary"]
    if wrong:
        raise ValueError(
            "`parents` must name binary tasks: only they have a probability. "
            f"Received: {wrong}."
        )
    taken = sorted({_conditional(*pair) for pair in parents.items()} & set(names))
    if taken:
        raise ValueError(
            "`parents` adds outputs, whose names must not be those of tasks. "
            f"Received: {taken}. Rename these tasks."
        )
    links: list[tuple[int, int]] = []
    left = dict(parents)
    while left:
        ready = [child for child, parent in left.items() if parent not in left]
        if not ready:
            raise ValueError(
                "`parents` must lead to a task without parent. "
                f"Received: parents={dict(parents)}, a cycle in {sorted(left)}."
            )
        links += [(names.index(child), names.index(left.pop(child))) for child in ready]
    return tuple(links)
