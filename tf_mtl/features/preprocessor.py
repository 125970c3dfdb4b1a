"""From raw columns to model inputs: learned once, the same in training and serving."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.datasets import records
from tf_mtl.features.adapt import is_batched, learn, new_learners
from tf_mtl.features.assets import read_values, write_values
from tf_mtl.features.checks import check_features, collect_columns
from tf_mtl.features.feature import Feature, IdFeature
from tf_mtl.features.tables import Table, describe


@keras.saving.register_keras_serializable(package="tf_mtl")
class Preprocessor(keras.layers.Layer):
    """Maps raw columns to the inputs of a model, by one list of features.

    Vocabularies and statistics of all features are learned by `adapt` in one pass over
    a data set. They are saved as assets with a model that holds the preprocessor in
    an attribute (`.keras` files; `.weights.h5` files hold no assets), and inside an
    exported SavedModel. It runs on the host, in `tf.data` or in a serving signature,
    not inside a compiled train step.

    Example:
    >>> preprocessor = Preprocessor(
    ...     [Categorical("city", embedding_dim=8), Numeric("age")]
    ... )
    >>> data = {"city": ["Rome", "Oslo", "Rome"], "age": [30.0, 50.0, 40.0]}
    >>> preprocessor.adapt(tf.data.Dataset.from_tensor_slices(data), progress=False)
    >>> preprocessor({"city": ["Rome", "Lima", ""], "age": [40.0, 40.0, 40.0]})["city"]
    <tf.Tensor: shape=(3,), dtype=int32, numpy=array([2, 1, 0], dtype=int32)>
    >>> preprocessor.tables()
    {'city': Table(num_ids=4, embedding_dim=8)}

    Args:
        features: sequence of features with distinct names.
        name: string. Name of the layer.

    Call arguments:
        raw: dictionary of batched raw columns: `[batch]`, or for lists
            `[batch, values]` dense, ragged or sparse. Other columns are ignored.

    Returns:
        A call gives a dictionary of model inputs: int32 ids `[batch]` or
        `[batch, max_length]`, float32 weights `[batch, max_length]`, float32 numbers
        `[batch, 1]` or `[batch, 2]`. An empty batch gives empty tensors.

    Raises:
        TypeError: if an entry of `features` is no feature.
        ValueError: if names repeat, or features that share a table or a column
            disagree on it. In a call: if it was not adapted, or a column is missing.
    """

    def __init__(self, features: Sequence[Feature], name: str | None = None) -> None:
        super().__init__(name=name, trainable=False, autocast=False)
        self.features = tuple(features)
        check_features(self.features)
        self._columns = collect_columns(self.features)
        self._learned: dict[str, np.ndarray] = {}
        self._prepared: dict[str, Any] = {}
        self.build(None)
        if self.adapted:
            self._prepare()

    def build(self, raw_shape: Any = None) -> None:
        """Nothing: what is learned are no weights."""

    @property
    def adapted(self) -> bool:
        """Whether everything that has to be learned is there."""
        return not self._unknown()

    @records.named_errors()
    def adapt(self, dataset: tf.data.Dataset, progress: bool = True) -> None:
        """Learns all vocabularies and statistics in one pass.

        What was learned before is forgotten.

        Args:
            dataset: finite data set of raw feature dictionaries, or of tuples that
                begin with one; batched (faster) or not. Columns that nothing is
                learned from are checked and not read.
            progress: bool. Whether to show the batches done.

        Raises:
            ValueError: if the data set is empty or infinite, or a column is missing
                or has a wrong shape.
            TypeError: if a column has a wrong dtype.
        """
        self._learned = learn(self.features, self._columns, dataset, progress)
        self._prepare()

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Reads the columns that features need, then calls the layer."""
        # Keras would take a list for a nested structure and refuse its values.
        return super().__call__({c.name: c.read(raw) for c in self._columns})

    def call(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Maps a batch of raw columns to model inputs."""
        self._check_adapted()
        outputs: dict[str, tf.Tensor] = {}
        for feature in self.features:
            outputs |= feature.encode(raw, self._prepared[feature.state_name])
        return outputs

    def compute_output_shape(self, raw_shape: Any = None) -> dict[str, Any]:
        """Shape of each model input, for a batch of any size."""
        del raw_shape
        return {name: spec.shape for name, spec in self.model_inputs().items()}

    def apply(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Maps the features of a batched data set, and nothing else of it.

        Args:
            dataset: data set of feature dictionaries, or of tuples that begin with
                one, batched.

        Returns:
            The data set with model inputs in place of raw columns, in the same order.

        Raises:
            ValueError: if the data set is not batched, or this was not adapted.
        """
        self._check_adapted()
        if not is_batched(dataset, self._columns[0]):
            raise ValueError(
                "`dataset` must be batched. Received: elements of one row, "
                f"{dataset.element_spec}. Pass `dataset.batch(size)`; "
                "`ragged_batch(size)` where lists differ in length."
            )

        def encode(raw: Mapping[str, Any], *rest: Any) -> Any:
            return (self(raw), *rest) if rest else self(raw)

        return dataset.map(encode, num_parallel_calls=tf.data.AUTOTUNE)

    def model_inputs(self) -> dict[str, keras.KerasTensor]:
        """Symbolic inputs, one for each output of a call, in the same order."""
        inputs: dict[str, keras.KerasTensor] = {}
        for feature in self.features:
            inputs |= feature.inputs()
        return inputs

    def tables(self) -> dict[str, Table]:
        """Size of each embedding table, in the order of the features.

        Raises:
            ValueError: if this was not adapted.
        """
        self._check_adapted()
        tables: dict[str, Table] = {}
        for feature in self.features:
            if isinstance(feature, IdFeature):
                name = feature.state_name
                num_ids = feature.num_ids(self._learned.get(name))
                tables[name] = Table(num_ids, feature.embedding_dim)
        return tables

    def parsing_spec(self, labels: Sequence[str] = ()) -> dict[str, Any]:
        """How `tf.io.parse_example` reads raw columns.

        An absent feature of an example is a missing value; an integer column without
        a `missing_value` has to be there.

        Args:
            labels: names of float columns to read as well, `[batch]`; an absent
                label is NaN.

        Returns:
            Dictionary of column name to parsing feature.

        Raises:
            ValueError: if a label is a raw column of a feature.
        """
        spec = {column.name: column.parsing() for column in self._columns}
        repeated = sorted(spec.keys() & set(labels))
        if repeated:
            raise ValueError(
                f"`labels` must not be read by features. Received: {repeated}. "
                "A model that reads its label learns nothing else."
            )
        label = tf.io.FixedLenFeature([], tf.float32, float("nan"))
        return spec | dict.fromkeys(labels, label)

    def raw_signature(self) -> dict[str, tf.TensorSpec]:
        """Types of the raw columns in a serving signature.

        Returns:
            Dictionary of column name to type: `[None]`, or `[None, None]` for a list
            (rows padded with the missing value); string, int64 or float32.
        """
        return {column.name: column.signature() for column in self._columns}

    def describe(self) -> str:
        """A table of the features for people, one line each."""
        return describe(self.features, self.tables())

    def get_config(self) -> dict[str, Any]:
        """Features and name; what was learned is saved as assets."""
        features = [keras.saving.serialize_keras_object(f) for f in self.features]
        return {"features": features, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Builds the preprocessor, without what was learned."""
        features = config["features"]
        restored = [keras.saving.deserialize_keras_object(f) for f in features]
        return cls(restored, name=config["name"])

    def save_assets(self, dir_path: str) -> None:
        """Writes what was learned, one text file for each state name."""
        for name, values in self._learned.items():
            write_values(_asset(dir_path, name), values)

    def load_assets(self, dir_path: str) -> None:
        """Reads what `save_assets` wrote; nothing if that was before `adapt`."""
        learned = {}
        for feature in self.features:
            path = _asset(dir_path, feature.state_name)
            if feature.learner() is not None and path.exists():
                dtype = feature.columns()[0].dtype
                learned[feature.state_name] = read_values(path, dtype)
        self._learned = learned
        if self.adapted:
            self._prepare()

    def _prepare(self) -> None:
        prepared = {}
        # Lookup tables made inside a traced function would belong to its graph.
        with tf.init_scope():
            for feature in self.features:
                name = feature.state_name
                if name not in prepared:
                    prepared[name] = feature.prepare(self._learned.get(name))
        self._prepared = prepared

    def _unknown(self) -> list[str]:
        return sorted(new_learners(self.features).keys() - self._learned.keys())

    def _check_adapted(self) -> None:
        unknown = self._unknown()
        if unknown:
            raise ValueError(
                "The preprocessor must be adapted before it is used. Received: nothing "
                f"learned for {unknown}. Call `adapt(dataset)`, or load a saved model."
            )


def _asset(dir_path: str, name: str) -> pathlib.Path:
    return pathlib.Path(dir_path, f"{name}.txt")
