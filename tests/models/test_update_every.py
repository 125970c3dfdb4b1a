"""Steps that use the weights of an earlier step again take one backward pass."""

import numpy as np
import pytest

from tests.models import problem
from tf_mtl import aggregators
from tf_mtl.models import weight_reuse

OPTIONS = {"update_every": 3, "ema": 0.5, "normalize_to": "mean"}


def train(name, jit_compile, **options):
    model = problem.make_model(name)
    aggregator = aggregators.get("gradcraft", **OPTIONS, **options)
    model.compile(problem.make_sgd(), aggregator=aggregator, jit_compile=jit_compile)
    model.fit(problem.make_dataset(7), epochs=1, verbose=0)
    return model


@pytest.mark.parametrize(
    ("name", "max_norm"),
    [("drgrad", None), ("mmoe", None), ("mmoe", 0.05), ("multi_task", 0.05)],
)
def test_one_backward_pass_gives_what_exact_rows_give(name, max_norm, monkeypatch):
    fast = train(name, jit_compile=True, max_norm=max_norm)
    assert weight_reuse.reuses_weights(fast)
    monkeypatch.setattr(weight_reuse, "reuses_weights", lambda model: False)
    slow = train(name, jit_compile=True, max_norm=max_norm)
    problem.assert_same(fast.variables, slow.variables)


@pytest.mark.parametrize("name", ["mmoe", "multi_task"])
def test_eager_and_graph_agree(name):
    models = [train(name, jit_compile=False), train(name, jit_compile=True)]
    eager = problem.make_model(name)
    eager.compile(
        problem.make_sgd(),
        aggregator=aggregators.get("gradcraft", **OPTIONS),
        run_eagerly=True,
    )
    eager.fit(problem.make_dataset(7), epochs=1, verbose=0)
    for model in models:
        problem.assert_same(model.variables, eager.variables)


def test_weights_are_computed_every_third_step():
    model = problem.make_model("mmoe")
    model.compile(
        problem.make_sgd(), aggregator=aggregators.get("pcgrad", update_every=3)
    )
    aggregator, seen = model.aggregator, []
    for batch in problem.make_dataset(7):
        model.train_on_batch(*batch)
        seen.append([v.numpy() for v in aggregator.variables if "last" in v.name][0])
    is_new = [bool(np.any(a != b)) for a, b in zip(seen[1:], seen, strict=False)]
    assert is_new == [False, False, True, False, False, True]
