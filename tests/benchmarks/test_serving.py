"""The serving benchmark: a smoke run of its smallest form."""

import io

import pytest

from tf_mtl.benchmarks import serving
from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.benchmarks.timing import interleaved_times
from tf_mtl.benchmarks.workload import Workload


@pytest.fixture(scope="module")
def rows():
    return serving.run(
        Workload(num_tasks=2, vocabulary=400),
        models=["shared_bottom", "drgrad"],
        batch_sizes=[1, 8],
        rounds=2,
        calls=3,
        out=io.StringIO(),
    )


def test_every_model_answers_batches_of_every_size(rows):
    found = [(row.batch_size, row.model) for row in rows]
    models = ("shared_bottom", "drgrad")
    assert found == [(size, name) for size in (1, 8) for name in models]
    assert all(0 < row.milliseconds <= row.p99_milliseconds for row in rows)


def test_ratios_are_against_the_first_model(rows):
    for first, second in (rows[:2], rows[2:]):
        assert (first.ratio, first.p99_ratio) == (1.0, 1.0)
        # Ratios are rounded to 0.001, times to 0.1 us.
        expected = second.milliseconds / first.milliseconds
        assert second.ratio == pytest.approx(expected, abs=2e-3)


def test_p99_is_the_time_that_one_of_a_hundred_exceeds():
    assert serving._p99(range(100, 0, -1)) == 99
    assert serving._p99([3.0]) == 3.0


def test_parameters_do_not_count_tables():
    workload = Workload(num_tasks=2, vocabulary=400, sizes=Sizes(tower_units=()))
    model = workload.model("shared_bottom")
    # Two layers of the bottom and two towers, all with biases.
    expected = (320 + 1) * 128 + (128 + 1) * 64 + 2 * (64 + 1)
    assert workload.parameters(model) == expected


def test_each_call_is_timed_but_the_first_of_a_turn():
    calls = []
    times = interleaved_times({"a": lambda: calls.append(1)}, rounds=2, calls=3)
    assert len(calls) == 8
    assert len(times["a"]) == 6
