import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import datasets

DTYPES = {"numeric": tf.float32, "categorical": tf.string, "integer": tf.int64}


def test_names():
    assert datasets.names() == ["census_income", "drgrad_conflict", "drgrad_cooperate"]


def test_unknown_name_lists_the_known():
    with pytest.raises(
        ValueError, match="`name` must be one of.*census_income.*'adult'"
    ):
        datasets.get("adult")


def test_tasks_name_kind_and_label():
    assert datasets.get("census_income").tasks() == [
        {"name": "income", "kind": "binary", "label": "income"},
        {"name": "never_married", "kind": "binary", "label": "never_married"},
    ]


@pytest.mark.parametrize("name", datasets.names())
def test_loaded_batches_are_as_described(name, manual_dir, tmp_path):
    info = datasets.get(name)
    assert info.name == name
    for split in info.splits:
        dataset = info.load(split, 4, manual_dir, tmp_path / "prepared")
        features, labels = dataset.element_spec
        assert {key: spec.dtype for key, spec in features.items()} == {
            key: DTYPES[column.kind] for key, column in info.columns.items()
        }
        assert list(labels) == [task["label"] for task in info.tasks()]
        batch, answers = next(iter(dataset))
        for key, column in info.columns.items():
            assert batch[key].shape == (4,)
            assert (column.size is None) == (column.kind != "integer")
            if column.size:
                assert 0 <= np.min(batch[key]) <= np.max(batch[key]) < column.size
        for answer in answers.values():
            assert set(np.unique(answer)) <= {0.0, 1.0}


def test_seed_orders_rows_only_when_shuffled(manual_dir, tmp_path):
    def load(**kwargs):
        info = datasets.get("census_income")
        dataset = info.load("train", 30, manual_dir, tmp_path / "prepared", **kwargs)
        return next(iter(dataset))[0]["age"].numpy().tolist()

    assert load(seed=0) == load(seed=1) == list(range(30))
    assert load(seed=0, shuffle=True) == load(seed=0, shuffle=True)
    assert load(seed=0, shuffle=True) != load(seed=1, shuffle=True)
