"""FeatureModel: a model that reads features, from ids and numbers to one tensor."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from tf_mtl import layers
from tf_mtl.features import Feature, IdFeature, Preprocessor
from tf_mtl.layers import FeatureEmbedding, Interaction
from tf_mtl.layers.embeddings import is_sequence
from tf_mtl.models.training import TaskTrainer
from tf_mtl.tasks import Task


class FeatureModel(TaskTrainer):
    """A model whose inputs are features: embeddings, pooling of sequences, a trunk.

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
        activation: Keras activation of the hidden layers of experts, bottoms and
            towers.
        embedding_l2: float, at least 0. What it costs to look a vector up: this times
            its squared norm, summed over the features and their lists, mean over the
            examples. It acts on the rows of the batch alone.
        kernel_l2: float, at least 0. Weight of the squared norm of the kernels of
            experts, bottoms and towers.

    Both costs belong to no task, so that no aggregator sees them: their gradients are
    added to what it made of the others.

    Raises:
        ValueError: if `pooling` does not name every sequence, or names anything else;
            if a `query` is no feature that has one vector; if the trunk is an
            `Interaction` and the features with ids differ in width; if `activation` is
            unknown; or if a number is negative.
        TypeError: if `trunk` or an entry of `pooling` is no layer, or none that pools.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        trunk: keras.layers.Layer | str | Mapping[str, Any] | None = None,
        pooling: Mapping[str, keras.layers.Layer | Mapping[str, Any]] | None = None,
        activation: Any = "relu",
        embedding_l2: float = 0.0,
        kernel_l2: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(tasks, **kwargs)
        for name, value in (("embedding_l2", embedding_l2), ("kernel_l2", kernel_l2)):
            if value < 0:
                raise ValueError(
                    f"`{name}` must be at least 0. Received: {name}={value}."
                )
        self.activation = keras.activations.get(activation)
        self.embedding_l2 = embedding_l2
        self.kernel_l2 = kernel_l2
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

    # -- features to one tensor --------------------------------------------------

    @property
    def own_embeddings(self) -> list[FeatureEmbedding]:
        """Embeddings whose tables have columns for each task."""
        return [layer for layer in self._embeddings if layer.copies > 1]

    @property
    def kernel_regularizer(self) -> keras.regularizers.Regularizer | None:
        """That of experts, bottoms and towers."""
        return keras.regularizers.L2(self.kernel_l2) if self.kernel_l2 else None

    @property
    def stack_arguments(self) -> dict[str, Any]:
        """Arguments that experts, bottoms and towers have in common."""
        return {
            "activation": self.activation,
            "kernel_regularizer": self.kernel_regularizer,
            "dtype": self.dtype_policy,
        }

    def count_parameters(self) -> int:
        """Number of trainable parameters beside the embedding tables."""
        tables = {id(v) for layer in self._embeddings for v in layer.variables}
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
        vectors = self.embedding.vectors(inputs, training)
        sequences = {}
        if self.pooling:
            sequences = self.embedding.sequences(inputs, training)
        for name, (items, mask) in sequences.items():
            layer = self.pooling[name]
            query = vectors[layer.query]
            pooled = layer(items, query, mask=mask, training=training)
            # The layer may have a policy of its own.
            vectors[name] = tf.cast(pooled, self.compute_dtype)
        return vectors

    def join(self, vectors: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Joins the vectors of features by the trunk, `(batch, units)`."""
        if isinstance(self.trunk, Interaction):
            widths = self._id_widths()
            ids = [vectors[name] for name in widths]
            numbers = [v for name, v in vectors.items() if name not in widths]
            found = self.trunk(ids, training=training)
            return tf.concat([*numbers, tf.cast(found, self.compute_dtype)], axis=-1)
        joined = tf.concat(list(vectors.values()), axis=-1)
        if self.trunk is None:
            return joined
        return tf.cast(self.trunk(joined, training=training), self.compute_dtype)

    # -- building and saving -----------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Creates all variables.

        Raises:
            ValueError: if the features were not adapted, so that the sizes of their
                tables are unknown.
        """
        del input_shape
        self._tables = dict(self._tables or self.features.tables())
        for layer in self._embeddings:
            if not layer.built:
                layer.build(self._tables)
        self.built = True
        # Layers are built for a batch of any size, which `summary` then shows.
        specs = {
            name: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)
            for name, spec in self.features.model_inputs().items()
        }
        with keras.StatelessScope():
            outputs = tf.function(self.task_outputs, autograph=False)
            outputs.get_concrete_function(specs, training=False)

    def build_if_adapted(self) -> None:
        """Builds at the end of a constructor; later, if the features come later."""
        if self.features.adapted:
            self.build()

    def compute_output_shape(self, input_shape: Any = None) -> dict[str, Any]:
        """Shape of the output of each task, for a batch of any size."""
        del input_shape
        return {task.name: (None,) for task in self.tasks}

    @property
    def _default_save_signature(self) -> None:
        # Keras would make one of the argument of `build`, which says nothing of the
        # inputs, for whoever saves a module that holds the model.
        return None

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
            "activation": keras.activations.serialize(self.activation),
            "embedding_l2": self.embedding_l2,
            "kernel_l2": self.kernel_l2,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Self:
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

    # -- parts -------------------------------------------------------------------

    @property
    def _embeddings(self) -> list[FeatureEmbedding]:
        return [layer for layer in self.layers if isinstance(layer, FeatureEmbedding)]

    def _make_embedding(self) -> FeatureEmbedding:
        return FeatureEmbedding(
            self.features.features,
            l2=self.embedding_l2,
            allow_sequences=bool(self.pooling),
            name="embedding",
            dtype=self.dtype_policy,
        )

    def _id_widths(self) -> dict[str, int]:
        """Width of the vector of each feature with ids."""
        specs = self.features.features
        return {f.name: f.embedding_dim for f in specs if isinstance(f, IdFeature)}

    def _refuse_trunk(self, instead: str) -> None:
        """Refuses what tasks would share above embeddings of their own."""
        if self.trunk is not None or self.pooling:
            raise ValueError(
                f"{type(self).__name__} gives each task embeddings of its own, so it "
                "takes no `trunk` or `pooling`, which tasks would share. Received: "
                f"trunk={self.trunk}, pooling={self.pooling}. {instead}"
            )

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
