"""The benchmark of architectures: a smoke run, and what it compares with."""

import io

import pytest

from tf_mtl.benchmarks import architectures
from tf_mtl.benchmarks.workload import Workload


def test_model_is_measured_beside_a_bottom_of_its_size():
    (row,) = architectures.run(
        Workload(num_tasks=2, vocabulary=400, batch_size=8),
        ["mmoe"],
        rounds=1,
        calls=2,
        out=io.StringIO(),
    )
    assert row.model == "mmoe"
    assert row.bottom_parameters == pytest.approx(row.parameters, rel=0.02)
    assert row.step_milliseconds > 0 and row.latency_milliseconds > 0
    assert row.step_ratio > 0 and row.latency_ratio > 0


@pytest.mark.parametrize("parameters", [20_000, 300_000])
def test_shared_bottom_has_the_parameters_asked_for(parameters):
    workload = Workload(num_tasks=3, vocabulary=400)
    model = workload.shared_bottom(parameters)
    assert workload.parameters(model) == pytest.approx(parameters, rel=0.03)


def test_tables_of_each_task_are_no_parameters():
    small, large = (Workload(2, vocabulary) for vocabulary in (400, 4000))
    sizes = {w.parameters(w.model("single_task")) for w in (small, large)}
    assert len(sizes) == 1
