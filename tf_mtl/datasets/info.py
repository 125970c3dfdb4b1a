"""What the command line needs to know of a data set, without knowing the data set."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from tf_mtl.datasets.columns import Columns

_Path = str | os.PathLike[str]


class Column(NamedTuple):
    """Type of a feature column.

    Attributes:
        kind: `"numeric"` for float32, `"categorical"` for strings, `"integer"` for
            int64 ids.
        size: int. Ids of an integer column are below it; `None` for other kinds.
        personal: bool. Whether it says who asks for what, see `Feature`.
    """

    kind: Literal["numeric", "categorical", "integer"]
    size: int | None = None
    personal: bool = False


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
        splits: strings. The splits that `load_columns` knows, each also in parts such
            as `"train[:90%]"`.
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
