import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.datasets.columns import as_dataset, fingerprint, num_rows

FEATURES = {
    "x": np.arange(10, dtype=np.float32),
    "word": np.array([f"w{i}" for i in range(10)]),
}
LABELS = {"y": np.arange(10, dtype=np.float32) * 2}


def orders(dataset, iterations=1):
    """The values of `x` in the order seen, one list per iteration."""
    return [
        np.concatenate([x["x"] for x, _ in dataset]).tolist() for _ in range(iterations)
    ]


def test_batches_keep_the_order_and_the_rows_together():
    batches = list(as_dataset(FEATURES, LABELS, batch_size=4))
    assert [len(x["x"]) for x, _ in batches] == [4, 4, 2]
    for x, y in batches:
        np.testing.assert_array_equal(y["y"], 2 * x["x"])
        assert [word.decode() for word in x["word"].numpy()] == [
            f"w{int(i)}" for i in x["x"]
        ]


def test_shuffle_is_new_in_each_iteration_and_the_same_for_a_seed():
    first, second = orders(as_dataset(FEATURES, LABELS, 4, shuffle_seed=1), 2)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(10))
    assert orders(as_dataset(FEATURES, LABELS, 4, shuffle_seed=1), 2) == [first, second]
    assert orders(as_dataset(FEATURES, LABELS, 4, shuffle_seed=2)) != [first]


def test_repeat_and_skip_goes_on_where_a_run_stopped():
    def dataset():
        return as_dataset(FEATURES, LABELS, 4, shuffle_seed=1).repeat()

    whole = orders(dataset().take(9))[0]
    rest = orders(dataset().skip(4).take(5))[0]
    assert whole[-len(rest) :] == rest


def test_drop_remainder_gives_a_static_batch_shape():
    dataset = as_dataset(FEATURES, LABELS, 4, shuffle_seed=0, drop_remainder=True)
    assert dataset.element_spec[0]["x"].shape == (4,)
    assert dataset.cardinality() == len(list(dataset)) == 2


def test_drop_remainder_of_less_than_a_batch_is_empty():
    assert not list(as_dataset(FEATURES, LABELS, 16, drop_remainder=True))


@pytest.mark.parametrize("shuffle_seed", [None, 3])
def test_single_rows(shuffle_seed):
    dataset = as_dataset(FEATURES, LABELS, shuffle_seed=shuffle_seed)
    assert dataset.element_spec[0]["x"] == tf.TensorSpec((), tf.float32)
    assert dataset.cardinality() == 10
    assert sorted(float(x["x"]) for x, _ in dataset) == list(range(10))


def test_no_rows_give_no_batch():
    empty = {"x": np.zeros([0], np.float32)}
    assert not list(as_dataset(empty, {"y": empty["x"]}, 4, shuffle_seed=0))


def test_errors():
    with pytest.raises(ValueError, match=r"`columns`.*'a': 2, 'b': 3"):
        num_rows({"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(ValueError, match="at least one"):
        num_rows({})
    with pytest.raises(ValueError, match="`batch_size`.*batch_size=0"):
        as_dataset(FEATURES, LABELS, 0)
    with pytest.raises(ValueError, match="`drop_remainder` needs"):
        as_dataset(FEATURES, LABELS, drop_remainder=True)


def test_fingerprint_tells_values_types_names_and_order_apart():
    columns = {"city": np.array(["Rome", "Oslo"]), "age": np.array([3, 4])}
    found = [
        fingerprint(each)
        for each in (
            columns,
            columns | {"city": np.array(["Oslo", "Rome"])},
            columns | {"city": np.array(["RomeO", "slo"])},
            columns | {"age": np.array([3.0, 4.0])},
            columns | {"age": np.array([[3], [4]])},
            {"town": columns["city"], "age": columns["age"]},
        )
    ]
    assert len(set(found)) == len(found)
    same = {"age": tf.constant([3, 4], tf.int64), "city": tf.constant(["Rome", "Oslo"])}
    assert fingerprint(same) == found[0]
