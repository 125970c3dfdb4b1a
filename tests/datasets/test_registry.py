import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import datasets
from tf_mtl.datasets.columns import num_rows

DTYPES = {"numeric": tf.float32, "categorical": tf.string, "integer": tf.int64}


def test_names():
    assert datasets.names() == [
        "census_income",
        "drgrad_conflict",
        "drgrad_conflict_noisy",
        "drgrad_conflict_paper",
        "drgrad_cooperate",
        "drgrad_cooperate_noisy",
        "drgrad_cooperate_paper",
    ]


def test_unknown_name_lists_the_known():
    with pytest.raises(
        ValueError, match="`name` must be one of.*census_income.*'adult'"
    ):
        datasets.get("adult")


@pytest.mark.parametrize("name", datasets.names())
def test_loaded_columns_are_as_described(name, manual_dir, tmp_path):
    info = datasets.get(name)
    assert info.name == name
    assert set(info.labels.values()) <= {"binary", "regression"}
    for split in info.splits:
        features, labels = info.load_columns(split, manual_dir, tmp_path / "prepared")
        size = num_rows({**features, **labels})
        assert {key: tf.as_dtype(features[key].dtype) for key in features} == {
            key: DTYPES[column.kind] for key, column in info.columns.items()
        }
        assert list(labels) == list(info.labels)
        for key, column in info.columns.items():
            assert features[key].shape == (size,)
            assert (column.size is None) == (column.kind != "integer")
            if column.size:
                assert np.min(features[key]) >= 0
                assert np.max(features[key]) < column.size
        for label in labels.values():
            assert set(np.unique(label)) <= {0.0, 1.0}
