"""A data set ready for training: rows split, features learned, columns encoded."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl import datasets, features
from tf_mtl.datasets.columns import (
    Columns,
    as_dataset,
    fingerprint,
    num_rows,
    take_rows,
)
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.tasks import Task

# Rows that are encoded at a time.
_CHUNK = 8192
_SAMPLE_ROWS = 32


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a split, in memory.

    Attributes:
        inputs: dict of tensors by model input, rows in the first axis.
        labels: dict of arrays `(rows,)` by label column.
    """

    inputs: dict[str, Any]
    labels: dict[str, Any]

    def __len__(self) -> int:
        return num_rows(self.labels)

    def fingerprint(self) -> str:
        """Tells other rows from these, see `datasets.columns.fingerprint`."""
        return fingerprint(
            {f"input {name}": column for name, column in self.inputs.items()}
            | {f"label {name}": column for name, column in self.labels.items()}
        )

    def batches(
        self,
        batch_size: int,
        shuffle_seed: int | None = None,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """See `datasets.columns.as_dataset`."""
        return as_dataset(
            self.inputs, self.labels, batch_size, shuffle_seed, drop_remainder
        )


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """What a run trains on.

    Attributes:
        preprocessor: adapted to the training rows alone.
        tasks: the tasks of the data set.
        train: rows to train on.
        validation: a seeded part of the `train` split, to choose the best epoch.
        test: the `test` split.
        sample: dict of raw columns of a few validation rows, as a client sends them.
    """

    preprocessor: features.Preprocessor
    tasks: list[Task]
    train: Rows
    validation: Rows
    test: Rows
    sample: dict[str, Any]


def make_features(
    columns: Mapping[str, datasets.Column], embedding_dim: int
) -> list[features.Feature]:
    """Features for the columns of a data set.

    Args:
        columns: dict of `Column` by name.
        embedding_dim: int. Width of each embedding.

    Returns:
        A vocabulary to learn for each categorical column, a range for each integer
        column. A number comes twice: as is, on a logarithmic scale, and in buckets of
        equal counts, since neither money nor age acts in a straight line.
    """
    made: list[features.Feature] = []
    for name, column in columns.items():
        ids: Any = {"embedding_dim": embedding_dim, "personal": column.personal}
        if column.kind == "categorical":
            made.append(features.Categorical(name, **ids))
        elif column.kind == "integer":
            made.append(features.IntegerRange(name, column.size or 1, **ids))
        else:
            made.append(features.Numeric(name, normalization="log_standard"))
            made.append(
                features.Bucketized(
                    f"{name}_bucket",
                    column=name,
                    num_buckets=128,
                    embedding_dim=embedding_dim,
                )
            )
    return made


def make_tasks(info: datasets.DatasetInfo) -> list[Task]:
    """The tasks of a data set; the first is the main one, and primary.

    Args:
        info: the data set.

    Returns:
        list of `Task`, one per label.
    """
    return [
        Task(name, kind, primary=i == 0)
        for i, (name, kind) in enumerate(info.labels.items())
    ]


def prepare(config: TrainConfig) -> PreparedData:
    """Loads a data set and makes it ready.

    Columns are encoded once and kept in memory, so that an epoch only gathers rows.

    Args:
        config: the choices of the run.

    Returns:
        `PreparedData`.

    Raises:
        FileNotFoundError: if a source file is missing.
        ValueError: if a source file is damaged, or the split leaves no rows to train
            on or to validate with.
    """
    info = datasets.get(config.dataset)
    train, validation = hold_out(
        info.load_columns("train", config.manual_dir, config.data_dir), config
    )
    test = info.load_columns("test", config.manual_dir, config.data_dir)
    preprocessor = features.Preprocessor(
        make_features(info.columns, config.embedding_dim)
    )
    preprocessor.adapt(as_dataset(*train, _CHUNK), progress=False)
    return PreparedData(
        preprocessor,
        make_tasks(info),
        train=encode(preprocessor, *train),
        validation=encode(preprocessor, *validation),
        test=encode(preprocessor, *test),
        sample=take_rows(validation[0], slice(_SAMPLE_ROWS)),
    )


def hold_out(
    columns: tuple[Columns, Columns], config: TrainConfig
) -> tuple[tuple[Columns, Columns], tuple[Columns, Columns]]:
    """Cuts seeded random rows off for validation.

    Args:
        columns: columns of the features and of the labels.
        config: the choices of the run: `validation_fraction` and `seed`.

    Returns:
        What is left to train on, and what was cut off.

    Raises:
        ValueError: if one of both is empty.
    """
    size = num_rows(columns[1])
    held_out = round(size * config.validation_fraction)
    if not 0 < held_out < size:
        raise ValueError(
            "`validation_fraction` must leave rows on both sides. Received: "
            f"validation_fraction={config.validation_fraction} of {size} rows."
        )
    order = np.random.default_rng(config.seed).permutation(size)

    def take(rows: np.ndarray) -> tuple[Columns, Columns]:
        inputs, labels = columns
        return _gather(inputs, rows), _gather(labels, rows)

    return take(np.sort(order[held_out:])), take(np.sort(order[:held_out]))


def _gather(columns: Columns, rows: np.ndarray) -> dict[str, tf.Tensor]:
    with tf.device("CPU:0"):
        return {name: tf.gather(column, rows) for name, column in columns.items()}


def encode(preprocessor: features.Preprocessor, raw: Columns, labels: Columns) -> Rows:
    """Makes model inputs of raw columns, a part of the rows at a time.

    Args:
        preprocessor: adapted preprocessor.
        raw: columns of the features.
        labels: columns of the labels.

    Returns:
        The rows.
    """
    encoded = preprocessor.apply(as_dataset(raw, labels, _CHUNK))
    batches = [inputs for inputs, _ in encoded]
    with tf.device("CPU:0"):
        inputs = {
            name: tf.concat([batch[name] for batch in batches], axis=0)
            for name in batches[0]
        }
    return Rows(inputs, {name: np.asarray(label) for name, label in labels.items()})
