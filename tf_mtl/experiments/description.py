"""What is in a data set, as text."""

import os

import numpy as np

from tf_mtl.datasets import DatasetInfo
from tf_mtl.datasets.columns import num_rows


def describe(
    info: DatasetInfo,
    manual_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> str:
    """Describes rows, labels and columns.

    Args:
        info: the data set.
        manual_dir: folder with the source files, where the data set has some.
        data_dir: folder for prepared data. `None` means that of TFDS.

    Returns:
        Text of several lines. Columns are those of the first split.

    Raises:
        FileNotFoundError: if a source file is missing.
        ValueError: if a source file is damaged.
    """
    lines = [f"{info.name}: {info.description}"]
    loaded = {s: info.load_columns(s, manual_dir, data_dir) for s in info.splits}
    names = list(info.labels)
    for split, (_, labels) in loaded.items():
        means = ", ".join(f"{name} {np.mean(labels[name]):.4f}" for name in names)
        lines.append(f"{split}: {num_rows(labels):,} rows; label means: {means}")
    features, labels = loaded[info.splits[0]]
    correlation = np.corrcoef([np.asarray(labels[name]) for name in names])
    correlation = np.atleast_2d(correlation)
    for i, name in enumerate(names):
        for j in range(i):
            value = f"{correlation[i, j]:.4f}"
            lines.append(f"correlation of {names[j]} and {name}: {value}")
    width = max(map(len, info.columns))
    for name, column in info.columns.items():
        values = np.asarray(features[name])
        lines.append(f"  {name:{width}}  {column.kind:11}  {_summary(values)}")
    return "\n".join(lines)


def _summary(values: np.ndarray) -> str:
    if values.dtype.kind == "f":
        return (
            f"{values.min():g} to {values.max():g}, mean {values.mean():.4g}, "
            f"zero in {np.mean(values == 0):.1%}"
        )
    distinct, counts = np.unique(values, return_counts=True)
    top = distinct[counts.argmax()]
    top = top.decode() if isinstance(top, bytes) else top
    return f"{len(distinct)} values, {counts.max() / len(values):.1%} are {str(top)!r}"
