"""Data sets: TFDS builders, synthetic generators, TFRecord files."""

from tf_mtl.datasets import census_income, records
from tf_mtl.datasets.drgrad_synthetic import DrgradSynthetic, make_drgrad_synthetic
from tf_mtl.datasets.info import Column, DatasetInfo
from tf_mtl.datasets.registry import get, names

__all__ = [
    "Column",
    "DatasetInfo",
    "DrgradSynthetic",
    "census_income",
    "get",
    "make_drgrad_synthetic",
    "names",
    "records",
]
