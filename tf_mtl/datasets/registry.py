"""Data sets by name."""

from tf_mtl.datasets import census_income, drgrad_synthetic
from tf_mtl.datasets.info import DatasetInfo
from tf_mtl.names import unknown_name_error

# A new data set is one file with a `DatasetInfo` and one entry here.
_DATASETS = {info.name: info for info in (census_income.INFO, *drgrad_synthetic.INFOS)}


def names() -> list[str]:
    """The names that `get` knows.

    Returns:
        Sorted list of strings.
    """
    return sorted(_DATASETS)


def get(name: str) -> DatasetInfo:
    """Finds a data set by name.

    Args:
        name: string. One of `names()`.

    Returns:
        `DatasetInfo`.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in _DATASETS:
        raise unknown_name_error("name", name, names())
    return _DATASETS[name]
