"""Unique ids and sums of repeated rows, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.gradients import UniqueSlices, first_of_run, unique_ids, unique_slices

CASES = {
    "repeated": [7, 3, 0, 7, 10, 3, 5],
    "all_equal": [4, 4, 4],
    "all_distinct": [2, 0, 1],
    "one": [9],
    "large": [2**31 - 2, 0, 2**31 - 2],
}
every_case = pytest.mark.parametrize("case", CASES)


@every_case
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_unique_ids_are_sorted_and_padded_with_the_last(case, dtype):
    ids = CASES[case]
    unique, position = unique_ids(tf.constant(ids, dtype))
    distinct = sorted(set(ids))
    padding = [distinct[-1]] * (len(ids) - len(distinct))
    assert unique.dtype == dtype
    assert unique.numpy().tolist() == distinct + padding
    assert tf.gather(unique, position).numpy().tolist() == ids


@every_case
def test_first_of_run_marks_what_is_not_padding(case):
    unique, _ = unique_ids(tf.constant(CASES[case]))
    live = first_of_run(unique).numpy()
    assert unique.numpy()[live].tolist() == sorted(set(CASES[case]))


def test_unique_slices_sum_rows_of_equal_id():
    ids = CASES["repeated"]
    values = np.random.default_rng(0).normal(size=(len(ids), 2)).astype("float32")
    slices = tf.IndexedSlices(tf.constant(values), tf.constant(ids), [11, 2])
    unique = unique_slices(slices)
    np.testing.assert_allclose(
        tf.convert_to_tensor(unique), tf.convert_to_tensor(slices), rtol=1e-6
    )
    padding = ~first_of_run(unique.indices).numpy()
    assert padding.sum() == 2
    assert not unique.values.numpy()[padding].any()


def test_unique_slices_are_not_summed_again():
    slices = UniqueSlices(tf.ones((1, 2)), tf.constant([3]), [5, 2])
    assert unique_slices(slices) is slices


def test_no_ids():
    unique, position = unique_ids(tf.zeros([0], tf.int32))
    assert unique.shape == position.shape == (0,)
