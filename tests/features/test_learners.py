"""Streaming statistics equal those of all values at once."""

import numpy as np
import pytest

from tf_mtl.features.learners import Moments, Quantiles, ValueCounts


def feed(learner, values, batch_size):
    for start in range(0, len(values), batch_size):
        learner.update(values[start : start + batch_size])
    return learner.result()


def test_values_are_ordered_by_count_then_value():
    values = np.array([b"b", b"a", b"c", b"c", b"", b"", b""], object)
    result = feed(ValueCounts(b"", min_count=1, max_size=None), values, 2)
    assert result.tolist() == [b"c", b"a", b"b"]
    capped = feed(ValueCounts(b"", min_count=1, max_size=2), values, 2)
    assert capped.tolist() == [b"c", b"a"]
    frequent = feed(ValueCounts(b"", min_count=2, max_size=None), values, 2)
    assert frequent.tolist() == [b"c"]


def test_integers_are_ordered_as_numbers():
    values = np.array([10, 9, -1, -1])
    assert feed(ValueCounts(None, 1, None), values, 3).tolist() == [-1, 9, 10]
    assert feed(ValueCounts(-1, 1, None), values, 3).tolist() == [9, 10]


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_moments_equal_numpy_at_a_large_offset(batch_size):
    values = np.random.default_rng(0).normal(1e6, 0.1, 1000)
    noisy = np.concatenate([values, [np.nan, np.inf]])
    expected = [values.mean(), values.var(), values.min(), values.max()]
    # The variance is 16 digits below the squared mean.
    np.testing.assert_allclose(feed(Moments(), noisy, batch_size), expected, rtol=1e-6)


def test_moments_of_nothing_are_zero():
    assert feed(Moments(), np.array([np.nan]), 1).tolist() == [0, 0, 0, 0]


def test_quantiles_of_few_values_are_exact():
    values = np.arange(9.0)
    assert feed(Quantiles(4), values, 2).tolist() == [2, 4, 6]


def test_sampled_quantiles_are_near_and_do_not_depend_on_batches():
    values = np.random.default_rng(0).random(20_000)
    result = feed(Quantiles(4, sample_size=1000), values, 300)
    # Three standard errors of a rank, 3 * sqrt(0.25 / 1000).
    np.testing.assert_allclose(result, [0.25, 0.5, 0.75], atol=0.05)
    again = feed(Quantiles(4, sample_size=1000), values, 20_000)
    np.testing.assert_array_equal(result, again)


def test_the_quantile_sample_is_bounded():
    learner = Quantiles(4, sample_size=100)
    for _ in range(100):
        learner.update(np.ones(50))
        assert sum(map(len, learner._values)) <= 250
