"""One pass over a data set that learns everything at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.features.columns import Column
from tf_mtl.features.feature import Feature
from tf_mtl.features.learners import Learner

# Rows of a batch that `learn` forms itself when the data is not batched.
_BATCH_SIZE = 4096


def new_learners(features: Sequence[Feature]) -> dict[str, Learner]:
    """A new learner for each state name that has something to learn."""
    pairs = ((feature.state_name, feature.learner()) for feature in features)
    return {name: learner for name, learner in pairs if learner is not None}


def is_batched(dataset: tf.data.Dataset, column: Column) -> bool:
    """Whether the elements of a data set are batches, judged by one column.

    Raises:
        TypeError: if the elements do not hold a feature dictionary.
        ValueError: if they do not hold the column.
    """
    spec = dataset.element_spec
    raw = spec[0] if isinstance(spec, tuple) else spec
    if not isinstance(raw, Mapping):
        raise TypeError(
            "`dataset` must hold feature dictionaries, or tuples that begin with one. "
            f"Received: elements {spec}."
        )
    rank = column.of(raw).shape.rank
    return rank is None or rank >= column.rank


def learn(
    features: Sequence[Feature],
    columns: Sequence[Column],
    dataset: tf.data.Dataset,
    progress: bool,
) -> dict[str, np.ndarray]:
    """Learns all vocabularies and statistics in one pass.

    Args:
        features: features, some of which may learn nothing.
        columns: all columns that `features` read; they are checked.
        dataset: finite data set of raw feature dictionaries, or of tuples that begin
            with one, batched or not. It is not read when nothing is to be learned.
        progress: bool. Whether to show the batches done.

    Returns:
        Dictionary of state name to what was learned, an array of rank 1.

    Raises:
        ValueError: if the data set is empty or infinite, or a column is missing or
            has a wrong shape.
        TypeError: if a column has a wrong dtype.
    """
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "`dataset` must be finite. Received: an infinite data set. Drop "
            "`repeat()`, or pass `dataset.take(count)`."
        )
    learners = new_learners(features)
    observed = [feature for feature in features if feature.state_name in learners]

    def observe(raw: Mapping[str, Any], *rest: Any) -> tuple[tf.Tensor, ...]:
        values = [column.read(raw) for column in columns]
        num_rows = tf.shape(values[0])[0]
        return (num_rows, *(feature.observe(raw) for feature in observed))

    if not is_batched(dataset, columns[0]):
        dataset = dataset.map(lambda raw, *rest: raw).ragged_batch(_BATCH_SIZE)
    batches = dataset.map(observe, num_parallel_calls=tf.data.AUTOTUNE)
    if not observed:
        return {}
    num_batches = int(batches.cardinality())
    bar = keras.utils.Progbar(
        num_batches if num_batches > 0 else None,
        verbose=int(progress),
        unit_name="batch",
    )
    num_rows = 0
    for rows, *values in batches.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        num_rows += int(rows)
        for feature, value in zip(observed, values, strict=True):
            learners[feature.state_name].update(value)
        bar.add(1)
    if not num_rows:
        raise ValueError(
            "`dataset` must hold at least one row. Received: an empty data set. Check "
            "its files and filters."
        )
    return {name: learner.result() for name, learner in learners.items()}
