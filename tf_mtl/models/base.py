"""MultiTaskModel: base of the architectures, cut at the shared representations."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import gradients, layers
from tf_mtl.features import Feature, IdFeature, Preprocessor
from tf_mtl.gradients.replicas import first_replica, replica_sum
from tf_mtl.layers import FeatureEmbedding, Interaction
from tf_mtl.layers.embeddings import is_sequence
from tf_mtl.models.passes import Backward, LossesFn, Route, Weigh
from tf_mtl.models.training import TaskTrainer
from tf_mtl.tasks import Task

# Tensors through which all tasks pass, by name.
Shared = dict[str, tf.Tensor]


class MultiTaskModel(TaskTrainer):
    """Base of the architectures.

    An architecture is three functions, so that per-task gradients walk each part as
    seldom as possible:

    1. `representations`: model inputs -> the tensors that all tasks share;
    2. `task_inputs`: those -> one tensor per task, which only that task reads;
    3. `towers`: those -> one raw output per task.

    Variables below the representations are shared. Those above are private: each
    belongs to one task, or is stacked and each slice belongs to one task. Towers and
    task inputs are walked back once for all tasks, what is below once per task.

    `representations` begins with `embed`: features -> vectors -> pooling of sequences
    -> trunk, one tensor that experts, bottoms and gates read.

    Args:
        features: adapted `Preprocessor`, or a list of features that learn nothing.
        tasks: sequence of `Task`.
        trunk: what the vectors of the features pass through before the multi-task part:
            a Keras layer that maps the joined vectors `(batch, width)` to `(batch,
            units)`, such as `layers.CrossNetwork()`; or an `Interaction`, which gets
            the vectors of features with ids. Or what `layers.get` makes one of:
            `"cross_network"`, `{"cross_network": {"num_layers": 3}}`. None: the vectors
            are joined.
        pooling: dict by sequence feature of the layer that makes one vector of it,
            such as `layers.TargetAttention(query="item")`, or what `layers.get` makes
            one of: `{"target_attention": {"query": "item"}}`. Such a layer has an
            attribute `query`, the name of a feature that is no sequence, and takes
            `(items, query, mask, training)`.

    Call arguments:
        inputs: dict of model inputs, as `Preprocessor` makes them.
        training: bool.

    Returns:
        dict of raw outputs `(batch,)` by task name: logits of binary tasks.

    Raises:
        ValueError: if `pooling` does not name every sequence, or names anything else;
            if a `query` is no feature that has one vector; or if the trunk is an
            `Interaction` and the features with ids differ in width.
        TypeError: if `trunk` or an entry of `pooling` is no layer, or none that pools.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        trunk: keras.layers.Layer | str | Mapping[str, Any] | None = None,
        pooling: Mapping[str, keras.layers.Layer | Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ):
        super().__init__(tasks, **kwargs)
        if not isinstance(features, Preprocessor):
            features = Preprocessor(features)
        self.features = features
        self.pooling = {
            name: layers.get("pooling", layer)
            for name, layer in (pooling or {}).items()
        }
        self._check_pooling()
        self.embedding = self._make_embedding()
        self.trunk = None if trunk is None else layers.get("trunk", trunk)
        self._check_trunk()
        self._tables: dict[str, tuple[int, int]] | None = None

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
        towers of task `t` must then read copy `t` only.
        """

    @abc.abstractmethod
    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""

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
            shared: what `representations` gave.
            cotangents: gradients at `task_inputs`, `(num_towers, batch, units)`.

        Returns:
            float32 tensor of shape `(num_tasks, num_tasks)`. Here: for an architecture
            whose towers all read the representation itself.
        """
        del shared
        flat = tf.reshape(tf.cast(cotangents, tf.float32), [len(self.tasks), -1])
        return tf.matmul(flat, flat, transpose_b=True)

    # -- building and saving -----------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Creates all variables.

        Raises:
            ValueError: if the features were not adapted, so that the sizes of their
                tables are unknown; or if tasks share variables above the
                representations.
        """
        del input_shape
        self._tables = dict(self._tables or self.features.tables())
        for layer in self.layers:
            if isinstance(layer, FeatureEmbedding) and not layer.built:
                layer.build(self._tables)
        self.built = True
        self.task_outputs(self.example_inputs(), training=False)
        # Under a strategy, gradients can be taken inside of its steps only.
        if self.has_shared_variables and not tf.distribute.has_strategy():
            self._check_towers()

    def build_if_adapted(self) -> None:
        """Builds at the end of a constructor; later, if the features come later."""
        if self.features.adapted:
            self.build()

    def get_build_config(self) -> dict[str, Any] | None:
        """Sizes of the embedding tables, which a saved model is built from."""
        if self._tables is None:
            return None
        return {"tables": {name: list(table) for name, table in self._tables.items()}}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Builds with given sizes, before saved vocabularies are loaded."""
        if not self.built:
            self._tables = {n: tuple(table) for n, table in config["tables"].items()}
            self.build()

    def get_config(self) -> dict[str, Any]:
        """Features and tasks; architectures add their own arguments."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "features": serialize(self.features),
            "tasks": [serialize(task) for task in self.tasks],
            "trunk": self.trunk and serialize(self.trunk),
            "pooling": {name: serialize(each) for name, each in self.pooling.items()},
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Any = None
    ) -> "MultiTaskModel":
        """Inverse of `get_config`."""
        del custom_objects
        revive = keras.saving.deserialize_keras_object
        config = dict(config)
        config["features"] = revive(config["features"])
        config["tasks"] = [revive(task) for task in config["tasks"]]
        return cls(**config)

    def example_inputs(self) -> dict[str, tf.Tensor]:
        """Inputs of one row of zeros."""
        return {
            name: tf.zeros([1, *spec.shape[1:]], spec.dtype)
            for name, spec in self.features.model_inputs().items()
        }

    def check_features(self) -> None:
        """Checks that the features were not adapted anew since the model was built.

        Raises:
            ValueError: if their tables have other sizes than those of the model.
        """
        if self._tables is None or not self.features.adapted:
            return
        found = {name: tuple(table) for name, table in self.features.tables().items()}
        built = {name: tuple(table) for name, table in self._tables.items()}
        if found != built:
            differing = sorted(n for n in found if found[n] != built.get(n))
            raise ValueError(
                "`features` were adapted again after the model was built: the sizes of "
                f"the tables {differing} differ. Build a new model with them."
            )

    # -- forward and backward ----------------------------------------------------

    def count_parameters(self) -> int:
        """Number of trainable parameters beside the embedding tables."""
        tables = {id(v) for v in self.embedding.trainable_variables}
        return sum(
            math.prod(v.shape) for v in self.trainable_variables if id(v) not in tables
        )

    def embed(self, inputs: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """What experts, bottoms and gates read: features through the trunk.

        Args:
            inputs: dict of model inputs.
            training: bool.

        Returns:
            tensor of shape `(batch, units)`.
        """
        return self.join(self.feature_vectors(inputs, training), training)

    def feature_vectors(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> dict[str, tf.Tensor]:
        """The vector of each feature, sequences pooled: `(batch, width)` by name."""
        vectors = self.embedding.vectors(inputs)
        sequences = self.embedding.sequences(inputs) if self.pooling else {}
        for name, (items, mask) in sequences.items():
            layer = self.pooling[name]
            query = vectors[layer.query]
            vectors[name] = layer(items, query, mask=mask, training=training)
        return vectors

    def join(self, vectors: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Joins the vectors of features by the trunk, `(batch, units)`."""
        if isinstance(self.trunk, Interaction):
            widths = self._id_widths()
            ids = [vectors[name] for name in widths]
            numbers = [v for name, v in vectors.items() if name not in widths]
            return tf.concat([*numbers, self.trunk(ids, training=training)], axis=-1)
        joined = tf.concat(list(vectors.values()), axis=-1)
        return joined if self.trunk is None else self.trunk(joined, training=training)

    def task_outputs(self, inputs: Any, training: bool) -> list[tf.Tensor]:
        """Raw outputs by task, each float32 of shape `(batch,)`."""
        shared = self.representations(inputs, training)
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
        """Plain gradients of private variables, and rows of shared ones."""
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
            read = self.task_inputs(copies, True)
            leaf = tf.stop_gradient(read)
            tape.watch(leaf)
            outputs = self.towers(leaf, True)
            penalty = self.penalty()
            losses = losses_fn(tf.unstack(outputs, num_tasks))
        at_towers, private = tape.gradient(losses, [leaf, variables])
        if route is not None:
            at_towers, private = route(at_towers, private)
        found, below = tape.gradient(
            read, [copies, variables], output_gradients=at_towers
        )
        private = [
            gradients.add_gradients(*pair) for pair in zip(private, below, strict=True)
        ]
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
        self._check_private(private, rows[0])
        plain = gradients.add_penalty(tape, penalty, private, variables)
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
            read = self.task_inputs(shared, True)
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
                replica_sum(self.representation_gramian(shared, cotangents))
            )
            weighted = self._weighted_cotangents(cotangents, weights)
            # Below the towers, private variables (gates) take the plain cotangents and
            # shared ones take the weighted.
            reached = tape.gradient(list(shared.values()), variables)
            private = [i for i, g in enumerate(reached) if g is None]
            common = [i for i, g in enumerate(reached) if g is not None]
            walks = [(private, cotangents), (common, weighted)]
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

    def _make_embedding(self) -> FeatureEmbedding:
        return FeatureEmbedding(
            self.features.features,
            allow_sequences=bool(self.pooling),
            name="embedding",
        )

    def _id_widths(self) -> dict[str, int]:
        """Width of the vector of each feature with ids."""
        specs = self.features.features
        return {f.name: f.embedding_dim for f in specs if isinstance(f, IdFeature)}

    def _check_trunk(self) -> None:
        """Refuses an interaction of vectors that differ in width, or of only one."""
        if not isinstance(self.trunk, Interaction):
            return
        widths = self._id_widths()
        if len(widths) < 2 or len(set(widths.values())) > 1:
            raise ValueError(
                f"`trunk` {type(self.trunk).__name__} needs two or more features with "
                f"ids, of one `embedding_dim`. Received: {widths}. Give all of them "
                "the same, or use CrossNetwork, which takes any widths."
            )

    def _check_pooling(self) -> None:
        """Refuses layers for what is no sequence, and a query that has no vector."""
        if not self.pooling:
            return
        names = [f.name for f in self.features.features]
        sequences = [f.name for f in self.features.features if is_sequence(f)]
        if set(self.pooling) != set(sequences):
            raise ValueError(
                "`pooling` must name every sequence and nothing else. Received: "
                f"{sorted(self.pooling)}, sequences: {sequences}. A list is a sequence "
                "if it has combiner=None."
            )
        for name, layer in self.pooling.items():
            if not hasattr(layer, "query"):
                raise TypeError(
                    "`pooling` must hold layers with a `query`, such as "
                    f"TargetAttention. Received: {layer!r} for {name!r}."
                )
            if layer.query not in set(names) - set(sequences):
                known = [each for each in names if each not in sequences]
                raise ValueError(
                    f"`query` of the pooling of {name!r} must be one of the features "
                    f"{known}. Received: query={layer.query!r}."
                )

    def _check_towers(self) -> None:
        """Refuses a variable above the representations that several tasks share."""
        example, num_tasks = self.example_inputs(), len(self.tasks)
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            shared = {
                name: tf.stop_gradient(tensor)
                for name, tensor in self.representations(example, False).items()
            }
            outputs = self.towers(self.task_inputs(shared, False), False)
            outputs = tf.unstack(outputs, num_tasks)
        reached = zip(*[tape.gradient(o, variables) for o in outputs], strict=True)
        wrong = [
            v.path
            for v, found in zip(self.trainable_variables, reached, strict=True)
            if sum(g is not None for g in found) > 1
            and v.shape[0] != len(self.slice_tasks(v))
        ]
        if wrong:
            raise ValueError(
                f"{type(self).__name__} shares variables above its representations: "
                f"{wrong}. Compute what they give in `representations`, stack them: "
                "`(num_tasks, ...)`, see `slice_tasks`, or make the class a "
                "`PartlySharedModel`."
            )

    def _check_private(
        self,
        private: Sequence[gradients.Gradient],
        row: Sequence[gradients.Gradient],
    ) -> None:
        both = [
            v.path
            for v, own, shared in zip(
                self.trainable_variables, private, row, strict=True
            )
            if own is not None and shared is not None
        ]
        if both:
            raise ValueError(
                f"{type(self).__name__} uses variables both below its representations "
                f"and above: {both}. Make what they compute a representation."
            )
