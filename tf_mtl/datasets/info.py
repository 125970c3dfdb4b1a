"""What the command line needs to know of a data set, without knowing the data set."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import tensorflow as tf

from tf_mtl.datasets.columns import Columns, as_dataset

_Path = str | os.PathLike[str]


class Column(NamedTuple):
    """Type of a feature column.

    Attributes:
        kind: `"numeric"` for float32, `"categorical"` for strings, `"integer"` for
            int64 ids.
        size: int. Ids of an integer column are below it; `None` for other kinds.
    """

    kind: Literal["numeric", "categorical", "integer"]
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """A data set by name: its columns, its tasks, and how to load it.

    Args:
        name: string. Name in the registry.
        description: string. One line.
        columns: dict of `Column` by feature name.
        labels: dict of task kind by label name; the main task first.
        load_columns: callable of `(split, manual_dir, data_dir)` that returns the
            columns of the features and of the labels.
        splits: strings. The splits that `load` knows, each also in parts such as
            `"train[:90%]"`.
        download: callable of `(manual_dir)` that fetches the source files, or `None`
            for a data set that has none.
    """

    name: str
    description: str
    columns: Mapping[str, Column]
    labels: Mapping[str, str]
    load_columns: Callable[
        [str, _Path | None, _Path | None], tuple[Columns, Columns]
    ] = dataclasses.field(repr=False)
    splits: tuple[str, ...] = ("train", "test")
    download: Callable[[_Path], None] | None = dataclasses.field(
        default=None, repr=False
    )

    def tasks(self) -> list[dict[str, str]]:
        """The arguments of one `tf_mtl.tasks.Task` per label.

        Returns:
            list of dicts with the keys `name`, `kind` and `label`.
        """
        return [
            {"name": label, "kind": kind, "label": label}
            for label, kind in self.labels.items()
        ]

    def load(
        self,
        split: str,
        batch_size: int,
        manual_dir: _Path | None = None,
        data_dir: _Path | None = None,
        seed: int = 0,
        shuffle: bool = False,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Loads a split as batches of `(features, labels)`.

        Args:
            split: string. One of `splits`, or a part such as `"train[:90%]"`.
            batch_size: int. Rows per batch.
            manual_dir: folder with the source files, where the data set has some.
            data_dir: folder for prepared data. `None` means that of TFDS.
            seed: int. Seed of the order of the rows. The rows themselves do not
                depend on it.
            shuffle: bool. Shuffles all rows, anew in each iteration.
            drop_remainder: bool. Leaves out a last batch that is not full.

        Returns:
            `tf.data.Dataset` of two dicts of tensors of shape `(batch,)`.

        Raises:
            FileNotFoundError: if a source file is missing.
            ValueError: if `split` is unknown or a source file is damaged.
        """
        features, labels = self.load_columns(split, manual_dir, data_dir)
        return as_dataset(
            features, labels, batch_size, seed if shuffle else None, drop_remainder
        )
