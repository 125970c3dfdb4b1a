"""The step benchmark: a smoke run of its smallest form."""

import dataclasses
import io
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import aggregators
from tf_mtl.benchmarks import results, step, timing
from tf_mtl.benchmarks.methods import Method, parse_methods
from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.benchmarks.workload import Workload


@pytest.fixture(scope="module")
def rows():
    return step.run(
        [Workload(2, vocabulary, batch_size=8) for vocabulary in (400, 800)],
        methods=["ew", "gradcraft:representation"],
        rounds=1,
        calls=1,
        jit_compile=False,
        out=io.StringIO(),
    )


def test_every_method_is_measured_for_every_size(rows):
    found = {(row.vocabulary, row.method) for row in rows}
    methods = ("ew", "gradcraft, representation", step.PLAIN_KERAS)
    assert found == {(size, name) for size in (400, 800) for name in methods}
    assert all(row.milliseconds > 0 for row in rows)


def test_ratio_is_against_equal_weights(rows):
    reference = {row.vocabulary: row for row in rows if row.method == "ew"}
    for row in rows:
        expected = row.milliseconds / reference[row.vocabulary].milliseconds
        # Both times are rounded to 0.01 ms.
        assert row.ratio == pytest.approx(expected, rel=0.02)


def test_solvers_are_timed_alone(rows):
    for row in rows:
        is_gramian = row.method.startswith("gradcraft")
        assert (row.solver_milliseconds is not None) == is_gramian
        assert row.compile_ratio > 0


def test_methods_are_read_with_surface_and_options():
    methods = parse_methods(["ew", "gradcraft:representation:tau=0.5:ema=0.9", "ew"])
    assert methods == [
        Method("ew"),
        Method("gradcraft", "representation", {"tau": 0.5, "ema": 0.9}),
    ]
    assert methods[1].label == "gradcraft, representation, tau=0.5, ema=0.9"
    assert methods[1].make().tau == 0.5


def test_all_stands_for_every_method_on_its_surfaces():
    found = {(m.name, m.surface) for m in parse_methods(["ew", "all"])}
    for name in aggregators.names():
        assert (name, "parameters") in found
        is_gramian = name in aggregators.names("gramian")
        assert ((name, "representation") in found) == is_gramian


def test_no_workload_is_an_error():
    with pytest.raises(ValueError, match="`workloads` must not be empty"):
        step.run([])


@pytest.mark.parametrize("item", ["gradcrft", "ew:nowhere", "gradcraft::tau=7"])
def test_a_wrong_method_is_refused(item):
    with pytest.raises(ValueError, match="gradcraft|surface|tau"):
        parse_methods([item])


def test_models_are_measured_side_by_side():
    rows = step.run(
        [Workload(num_tasks=2, vocabulary=400, batch_size=8)],
        methods=["ew"],
        models=["mmoe", "drgrad:num_experts=3"],
        plain_keras=False,
        rounds=1,
        calls=1,
        jit_compile=False,
        out=io.StringIO(),
    )
    assert [row.model for row in rows] == ["mmoe", "drgrad:num_experts=3"]
    assert rows[0].ratio == 1.0
    # Of four experts, one less.
    assert 0 < rows[1].parameters < rows[0].parameters


def test_summary_compares_vocabularies(rows):
    assert "ew" in step.summary(rows)
    assert step.summary(rows[:1]) == ""


def test_json_is_written(rows, tmp_path):
    sizes = Sizes(num_experts=3)
    results.write(rows, sizes, tmp_path / "new" / "step.json")
    result = json.loads((tmp_path / "new" / "step.json").read_text())
    assert len(result["rows"]) == len(rows)
    assert result["machine"]["tensorflow"] == tf.__version__
    widths = {"expert_units": [128, 64], "tower_units": [64]}
    assert result["sizes"] == dataclasses.asdict(sizes) | widths


def test_functions_take_turns():
    calls = []
    steps = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    medians = timing.interleaved_medians(steps, rounds=2, calls=2)
    assert "".join(calls) == "aaabbbaaabbb"
    assert set(medians) == {"a", "b"}


def test_work_in_every_second_call_counts(monkeypatch):
    clock, costs = [0.0], itertools.cycle([1.0, 3.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def step():
        clock[0] += next(costs) * 1e-3

    medians = timing.interleaved_medians({"a": step}, rounds=3, calls=2)
    assert medians["a"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    "sizes",
    [Sizes(), Sizes(3, 5, 2, expert_units=(9, 7, 6), tower_units=(8, 4))],
    ids=str,
)
def test_plain_keras_model_is_the_same_network(sizes):
    workload = Workload(num_tasks=2, vocabulary=400, batch_size=4, sizes=sizes)
    model, plain = workload.model(), workload.plain_keras_model()
    # Our towers and the plain ones have the same sizes, biases included.
    assert model.count_params() - _state_size(model) == plain.count_params()


def _state_size(model):
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return model.count_params() - trained
