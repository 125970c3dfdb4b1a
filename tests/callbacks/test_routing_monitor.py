"""RoutingMonitor: what it logs, and that watching changes nothing."""

import keras
import numpy as np
import pytest

from tf_mtl import Task, callbacks, features, models
from tf_mtl.callbacks.monitor import read_log
from tf_mtl.routing import Router

RNG = np.random.default_rng(0)
INPUTS = {"x": RNG.normal(size=(64, 1)).astype(np.float32)}
LABELS = {
    "a": (INPUTS["x"][:, 0] > 0).astype(np.float32),
    "b": (INPUTS["x"][:, 0] < 0).astype(np.float32),
    "c": (INPUTS["x"][:, 0] > 0.5).astype(np.float32),
}


def make_model(cls=models.DRGrad, jit_compile=False, dropout=0.5, **kwargs):
    keras.utils.set_random_seed(0)
    model = cls(
        [features.Numeric("x", normalization=None, default=0.0)],
        # The primary task is not the first.
        [Task("a"), Task("b", primary=True), Task("c")],
        num_experts=2,
        expert_units=(16,),
        tower_units=(8,),
        dropout=dropout,
        **kwargs,
    )
    model.compile("adam", jit_compile=jit_compile)
    return model


def fit(model, epochs=1, callbacks=()):
    model.fit(
        INPUTS, LABELS, 16, epochs, verbose=0, shuffle=False, callbacks=list(callbacks)
    )
    return model.get_weights()


def cosine(first, second):
    first, second = np.ravel(first), np.ravel(second)
    return first @ second / np.linalg.norm(first) / np.linalg.norm(second)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_routing_is_logged_and_nothing_changes(jit_compile, tmp_path):
    routes = make_model().routes(INPUTS, LABELS)
    monitor = callbacks.RoutingMonitor(tmp_path, (INPUTS, LABELS), every=2)
    watched = fit(make_model(jit_compile=jit_compile), callbacks=[monitor])
    first, second = read_log(tmp_path / "routing.csv")
    assert (first["step"], second["step"]) == (0, 2)
    # Routing leaves secondary tasks as they are.
    own, _, of_a, of_c = routes.gradients.numpy()
    for name, place, gradient in (("b:a", 1, of_a), ("b:c", 2, of_c)):
        expected = {
            f"cosine_before:{name}": routes.cosines[0, place],
            f"cosine_after:{name}": cosine(own, gradient),
            f"norm_ratio_after:{name}": routes.norms[0, 0] / np.linalg.norm(gradient),
        }
        for key, value in expected.items():
            np.testing.assert_allclose(first[key], value, rtol=1e-4, err_msg=key)
        if first[f"norm_ratio_before:{name}"] < 1.0:
            ratio = routes.ratios[0, place]
            np.testing.assert_allclose(first[f"norm_ratio_before:{name}"], ratio, 1e-4)
    np.testing.assert_allclose(first["cosine_halves:b"], routes.cosines[0, 0], 1e-4)
    assert first["weight_dedicated:b"] == first["weight_shared:b"] == 0.5
    assert second["weight_dedicated:b"] == pytest.approx(1 - second["weight_shared:b"])
    assert second["weight_dedicated:b"] != 0.5
    assert (tmp_path / "routing.png").stat().st_size > 10_000
    assert list(tmp_path.glob("events.out.tfevents.*"))
    unwatched = fit(make_model(jit_compile=jit_compile))
    for with_monitor, without in zip(watched, unwatched, strict=True):
        np.testing.assert_array_equal(with_monitor, without)


def test_a_resumed_run_goes_on_with_the_file(tmp_path):
    model, data = make_model(), (INPUTS, LABELS)
    for _ in range(2):
        fit(model, callbacks=[callbacks.RoutingMonitor(tmp_path, data, every=3)])
    rows = read_log(tmp_path / "routing.csv")
    assert [row["step"] for row in rows] == [0, 3, 6]


def test_examples_routed_apart_are_summed(tmp_path):
    model = make_model(router=Router(per_example=True))
    routes = model.routes(INPUTS, LABELS)
    monitor = callbacks.RoutingMonitor(tmp_path, (INPUTS, LABELS), every=10)
    fit(model, callbacks=[monitor])
    (row,) = read_log(tmp_path / "routing.csv")
    own, _, of_a, _ = routes.gradients.numpy()
    np.testing.assert_allclose(row["cosine_after:b:a"], cosine(own, of_a), rtol=1e-4)


@pytest.mark.parametrize("absent", [None, "a"])
def test_what_is_logged_of_routed_variables_is_what_the_step_takes(absent, tmp_path):
    model = make_model(level="tower_params", dropout=0.0)
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    labels = dict(LABELS)
    if absent:
        labels[absent] = np.full(64, np.nan, np.float32)
    routes = model.routes(INPUTS, labels)
    # What the step is compared by: the dedicated branch takes of a secondary task.
    assert any(
        np.abs(new[0] - old[0]).max() > 0.0
        for new, old in zip(routes.gradients, routes.received, strict=True)
    )
    before = [v.numpy() for v in model.tower.trainable_variables]
    monitor = callbacks.RoutingMonitor(tmp_path, (INPUTS, labels))
    model.fit(INPUTS, labels, 64, verbose=0, shuffle=False, callbacks=[monitor])
    pairs = zip(before, model.tower.trainable_variables, strict=True)
    steps = [old - v.numpy() for old, v in pairs]
    # Dedicated branch and shared half of b, then a and c.
    own, _, of_a, of_c = np.concatenate([s.reshape(4, -1) for s in steps], axis=1)
    (row,) = read_log(tmp_path / "routing.csv")
    for name, gradient in (("a", of_a), ("c", of_c)):
        expected = np.nan if name == absent else cosine(own, gradient)
        np.testing.assert_allclose(row[f"cosine_after:b:{name}"], expected, rtol=1e-4)
        if name != absent:
            ratio = np.linalg.norm(own) / np.linalg.norm(gradient)
            np.testing.assert_allclose(row[f"norm_ratio_after:b:{name}"], ratio, 1e-4)


def test_a_model_without_branches_is_refused(tmp_path):
    model = make_model(models.MMoE)
    monitor = callbacks.RoutingMonitor(tmp_path, (INPUTS, LABELS))
    with pytest.raises(TypeError, match="SplitMMoE or DRGrad.*type MMoE"):
        fit(model, callbacks=[monitor])
