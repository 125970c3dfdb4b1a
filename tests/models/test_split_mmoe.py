"""Split-MMoE and DRGrad: towers, routing, updater, gate."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.saving import serialize_keras_object

from tf_mtl import export, models
from tf_mtl.aggregators import GramianWeighting
from tf_mtl.layers import PersonalGate
from tf_mtl.models import DRGrad, SplitMMoE
from tf_mtl.optimizers import LazySGD
from tf_mtl.routing import Router, Updater
from tf_mtl.tasks import read_targets

from . import problem

RATE = 0.1
GATE = {"hidden_units": 5, "use_bias": True, "stop_gradient": True}


def make(cls=DRGrad, seed=0, primaries=(0, 1), personal=("user",), **kwargs):
    keras.utils.set_random_seed(seed)
    tasks = [
        dataclasses.replace(task, primary=i in primaries)
        for i, task in enumerate(problem.TASKS)
    ]
    features = [
        dataclasses.replace(feature, personal=feature.name in personal)
        for feature in problem.FEATURES
    ]
    return cls(
        features,
        tasks,
        num_experts=3,
        expert_units=problem.WIDTHS,
        tower_units=(3,),
        **kwargs,
    )


def name_of(variable):
    """Path without the name of the model."""
    return variable.path.partition("/")[2]


def one_step(model, **kwargs):
    """Change of each trainable variable in a step of plain SGD, over its rate."""
    batch = problem.make_batch()
    before = [v.numpy() for v in model.trainable_variables]
    optimizer = keras.optimizers.SGD(RATE)
    model.compile(optimizer, run_eagerly=True, **kwargs)
    model.train_on_batch(*batch)
    pairs = zip(model.trainable_variables, before, strict=True)
    return {name_of(v): (old - v.numpy()) / RATE for v, old in pairs}


def reference(model, level):
    """What the step should take: a tape per branch, then the router, by hand."""
    inputs, labels = problem.as_tensors(problem.make_batch())
    targets = read_targets(model.tasks, labels)
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        read = model.task_inputs(model.representations(inputs, True), True)
        outputs = tf.unstack(model.towers(read, True), 3)
        losses = model._task_losses(outputs, targets)
    total = [
        problem.dense(g, v)
        for g, v in zip(tape.gradient(losses, variables), variables, strict=True)
    ]
    by_task = [tape.gradient(loss, read).numpy() for loss in losses]
    num_primary = len(model.primaries)
    owners = [*model.primaries, *model.primaries, *model.secondaries]
    branches = np.stack([by_task[t][i] for i, t in enumerate(owners)])
    if level in ("tower_input", "both"):
        extra = model.router(branches, num_primary).gradients - branches
        found = tape.gradient(read, variables, output_gradients=extra)
        pairs = zip(total, found, variables, strict=True)
        total = [g + problem.dense(f, v) for g, f, v in pairs]
    if level in ("tower_params", "both"):
        places = [
            i for i, v in enumerate(model.trainable_variables) if "tower" in v.path
        ]
        found = model.router([total[i] for i in places], num_primary).gradients
        for i, gradient in zip(places, found, strict=True):
            total[i] = gradient
    return {
        name_of(v): g for v, g in zip(model.trainable_variables, total, strict=True)
    }


@pytest.mark.parametrize("primaries", [[0, 1], [2]])
@pytest.mark.parametrize("level", ["tower_input", "tower_params", "both"])
@pytest.mark.parametrize("reading", ["paired", "literal"])
def test_step_takes_what_is_routed_by_hand(level, reading, primaries):
    model = make(router=Router(reading), level=level, primaries=primaries)
    expected = reference(model, level)
    actual = one_step(model)
    for path, value in expected.items():
        np.testing.assert_allclose(
            actual[path], value, rtol=1e-4, atol=1e-5, err_msg=path
        )


def gramian_of(rows):
    """Inner products of lists of gradients, one list for each task."""
    flat = np.stack([np.concatenate([np.ravel(part) for part in row]) for row in rows])
    return flat @ flat.T


@pytest.mark.parametrize("primaries", [[0], [2], [1, 2]])
def test_gramians_are_those_of_each_loss(primaries):
    model = make(SplitMMoE, primaries=primaries, num_dedicated_experts=1)
    inputs, labels = problem.as_tensors(problem.make_batch())
    targets = read_targets(model.tasks, labels)
    variables = [v.value for v in model.shared_variables()]
    with tf.GradientTape(persistent=True) as tape:
        shared = model.representations(inputs, True)
        representation = [shared["experts"], shared["shared"]]
        read = model.task_inputs(shared, True)
        losses = model._task_losses(tf.unstack(model.towers(read, True), 3), targets)
    exact = [
        [
            problem.dense(g, v)
            for g, v in zip(tape.gradient(loss, variables), variables, strict=True)
        ]
        for loss in losses
    ]
    np.testing.assert_allclose(
        model.gramian(inputs, labels), gramian_of(exact), rtol=1e-4, atol=1e-7
    )
    # A task with no dedicated tower reaches the experts through the vector alone.
    direct = [
        [
            g if g is not None else np.zeros(r.shape)
            for g, r in zip(found, representation, strict=True)
        ]
        for found in (_gradients_apart(model, shared, targets, t) for t in range(3))
    ]
    np.testing.assert_allclose(
        model.representation_gramian(shared, tape.gradient(losses, read)),
        gramian_of(direct),
        rtol=1e-4,
        atol=1e-7,
    )


def _gradients_apart(model, shared, targets, task):
    """Gradients of a loss at the experts and at the vector, as if unconnected."""
    leaves = {name: tf.stop_gradient(tensor) for name, tensor in shared.items()}
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        outputs = model.towers(model.task_inputs(leaves, True), True)
        loss = model._task_losses(tf.unstack(outputs, 3), targets)[task]
    return tape.gradient(loss, [leaves["experts"], leaves["shared"]])


class Triple(GramianWeighting):
    """Weighs whatever is shared by 3."""

    def _weights(self, gramian, losses, present):
        return 3 * tf.ones_like(gramian[0])


@pytest.mark.parametrize("surface", ["parameters", "representation"])
@pytest.mark.parametrize("primaries", [[1], [0, 2]])
def test_dedicated_experts_take_the_plain_gradient_of_their_task(surface, primaries):
    model = make(SplitMMoE, primaries=primaries, num_dedicated_experts=2)
    variables = model.dedicated_expert.trainable_variables
    names = [task.name for task in model.tasks]
    groups = model.variable_groups()
    plain = problem.gradients_by_task(model, *problem.as_tensors(problem.make_batch()))
    for variable in variables:
        expected = [frozenset([names[t]]) for t in primaries for _ in range(2)]
        assert list(groups[variable.path]) == expected
    change = one_step(model, aggregator=Triple(), surface=surface)
    for variable, gradient in zip(model.trainable_variables, plain, strict=True):
        is_dedicated = any(variable is each for each in variables)
        if is_dedicated or variable is model.expert.dense[0].kernel:
            assert np.any(gradient)
            np.testing.assert_allclose(
                change[name_of(variable)],
                gradient.sum(axis=0) * (1 if is_dedicated else 3),
                rtol=1e-4,
                atol=1e-6,
            )


def changed(first, second):
    return {p for p in first if not np.allclose(first[p], second[p], atol=1e-6)}


def test_levels_change_different_variables():
    plain = one_step(make(SplitMMoE, personal_gate=True))
    at_inputs = one_step(make(level="tower_input"))
    in_towers = one_step(make(level="tower_params"))
    towers = {path for path in plain if path.startswith("tower/")}
    assert changed(plain, in_towers) == towers
    moved = changed(plain, at_inputs)
    assert not moved & towers
    assert {"dedicated_gate/kernel", "expert/dense_0/kernel"} <= moved


def train(*models):
    for model in models:
        model.compile(problem.make_sgd(), jit_compile=False)
        model.fit(problem.make_dataset(3), verbose=0)


def test_without_router_updater_and_gate_it_is_split_mmoe():
    split = make(SplitMMoE)
    drgrad = make(DRGrad, router=None, updater=None, personal_gate=None)
    inputs, _ = problem.as_tensors(problem.make_batch())
    for name, output in split(inputs).items():
        np.testing.assert_array_equal(drgrad(inputs)[name], output)
    train(split, drgrad)
    problem.assert_same(drgrad.get_weights(), split.get_weights(), rtol=0, atol=0)


@pytest.mark.parametrize("on", [True, {}, "defaults of DRGrad"])
def test_split_mmoe_with_router_and_updater_is_drgrad_without_gate(on):
    parts = {} if isinstance(on, str) else {"router": on, "updater": on}
    split = make(SplitMMoE, router={}, updater={})
    drgrad = make(DRGrad, personal_gate=False, **parts)
    train(split, drgrad)
    problem.assert_same(drgrad.get_weights(), split.get_weights(), rtol=0, atol=0)
    assert np.all(drgrad.updater.branch_weights() != 0.5)


@pytest.mark.parametrize("off", [None, False])
@pytest.mark.parametrize("cls", [SplitMMoE, DRGrad])
def test_parts_that_are_off_stay_off(cls, off):
    model = make(cls, router=off, updater=off, personal_gate=off)
    for each in (model, cls.from_config(model.get_config())):
        assert each.router is None and each.personal_gate is None
        assert each.updater.rule == "fixed"
    model = cls.from_config(make(cls, router={}, personal_gate=off).get_config())
    assert model.router is not None and model.personal_gate is None


def test_gate_starts_as_the_identity_and_learns():
    with_gate, without = make(), make(personal_gate=False)
    for path in ("embedding", "expert", "shared_gate", "dedicated_gate", "tower"):
        own = [v for v in with_gate.weights if f"/{path}" in v.path]
        other = [v for v in without.weights if f"/{path}" in v.path]
        for a, b in zip(own, other, strict=True):
            a.assign(b)
    inputs, _ = problem.as_tensors(problem.make_batch())
    for name, output in without(inputs).items():
        np.testing.assert_allclose(with_gate(inputs)[name], output, rtol=1e-6)
    change = one_step(with_gate)
    assert any(np.any(value != 0) for p, value in change.items() if "personal" in p)


def test_updater_learns_in_training_only():
    model = make()
    model.compile(problem.make_sgd(), jit_compile=False)
    data = problem.make_dataset(2)
    model.evaluate(data, verbose=0)
    np.testing.assert_array_equal(model.updater.branch_weights(), 0.5)
    logs = model.fit(data, verbose=0).history
    assert np.all(model.updater.branch_weights() != 0.5)
    assert logs["dead_branches"] == [0.0]


def test_norms_do_not_hold_the_scale_of_the_loss():
    plain, scaled = make(), make()
    plain.compile(LazySGD(RATE), run_eagerly=True)
    scaled.compile(LazySGD(RATE, loss_scale_factor=1024.0), run_eagerly=True)
    for model in (plain, scaled):
        model.fit(problem.make_dataset(2), verbose=0)
    problem.assert_same(scaled.get_weights(), plain.get_weights(), rtol=1e-4)


@pytest.mark.parametrize("level", ["tower_input", "tower_params", "both"])
def test_updater_goes_by_norms_of_variables_at_tower_params_alone(level):
    model = make(level=level, updater={"rule": "softmax_sum"})
    inputs, labels = problem.as_tensors(problem.make_batch())
    by_task = problem.gradients_by_task(model, inputs, labels)
    rows = [
        gradients.sum(axis=0)
        for v, gradients in zip(model.trainable_variables, by_task, strict=True)
        if name_of(v).startswith("tower/")
    ]
    at_inputs = make(level="tower_input", updater={"rule": "softmax_sum"})
    at_inputs.set_weights(model.get_weights())
    differences = [
        norms[:, 0] - norms[:, 1]
        for norms in (
            at_inputs.routes(inputs, labels).norms,
            model.router(rows, len(model.primaries)).norms,
        )
    ]
    taken, other = differences if level != "tower_params" else differences[::-1]
    one_step(model)
    weights = model.updater.branch_weights().numpy()
    found = np.log(weights[:, 0] / weights[:, 1])
    np.testing.assert_allclose(found, taken, rtol=1e-3)
    assert np.all(np.abs(found - other) > 1e-3)


def test_dead_branch_is_logged():
    model = make(updater=Updater("softmax_sum"))
    model.updater.update([[20.0, 0.0], [1.0, 1.0]])
    model.compile(problem.make_sgd(), jit_compile=False)
    logs = model.fit(problem.make_dataset(1), verbose=0).history
    assert logs["dead_branches"] == [1.0]


def test_absent_primary_task_leaves_its_updater_alone():
    model = make()
    inputs, labels = problem.make_batch()
    labels["like"][:] = -1.0
    model.compile(problem.make_sgd(), run_eagerly=True)
    model.train_on_batch(inputs, labels)
    weights = model.updater.branch_weights().numpy()
    assert np.all(weights[0] != 0.5)
    np.testing.assert_array_equal(weights[1], 0.5)


@pytest.mark.parametrize("aggregator", ["ew", "gradcraft"])
def test_saved_and_resumed_is_uninterrupted(aggregator, tmp_path):
    model = make(level="both", router=Router(gamma=0.5), updater=Updater("softmax_sum"))
    model.compile(problem.make_sgd(), aggregator, jit_compile=False)
    data = problem.make_dataset(2)
    model.fit(data, verbose=0)
    model.save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    assert resumed.router.get_config() == model.router.get_config()
    for each in (model, resumed):
        each.fit(data, verbose=0)
    problem.assert_same(resumed.get_weights(), model.get_weights(), rtol=1e-6)


def test_export_holds_the_weights_of_the_branches_as_constants(tmp_path):
    model = make()
    model.compile(problem.make_sgd(), jit_compile=False)
    model.fit(problem.make_dataset(2), verbose=0)
    version = export.save(model, str(tmp_path / "exported"))
    loaded = tf.saved_model.load(version)
    served = loaded.signatures["serving_default"]
    raw = {
        "user": tf.constant([1, 2], tf.int64),
        "item": tf.constant([1, 3], tf.int64),
        "history": tf.constant([[1, 2, -1, -1], [-1, -1, -1, -1]], tf.int64),
        "history_weight": tf.ones([2, 4]),
        "price": tf.constant([0.5, -1.0]),
    }
    answer = served(**raw)
    expected = model.predictions(model.features(raw))
    for name, values in expected.items():
        np.testing.assert_allclose(
            np.ravel(answer[name]), np.ravel(values), rtol=1e-5, atol=1e-6
        )
    # They are constants: no state of the updater is there, and nothing changes it.
    assert loaded.weights and not [v for v in loaded.weights if "updater" in v.name]
    graph = served.graph.as_graph_def()
    ops = [node.op for function in graph.library.function for node in function.node_def]
    assert "ReadVariableOp" in ops
    assert not [op for op in ops if op.startswith("Assign")]


def test_several_and_single_primaries_and_no_secondary():
    for primaries in ([2], [0, 1, 2]):
        model = make(primaries=primaries, num_dedicated_experts=1)
        model.compile(problem.make_sgd(), "gradcraft", run_eagerly=True)
        logs = model.fit(problem.make_dataset(1), verbose=0).history
        assert np.isfinite(logs["loss"][0])
        assert logs["skipped_updates"] == [0.0]


def test_diagnosis_names_every_source():
    routes = make().routes(*problem.as_tensors(problem.make_batch()))
    assert routes.cosines.shape == (2, 3)
    assert np.all(np.abs(routes.cosines) <= 1.0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"primaries": []}, "`tasks` must hold a primary task"),
        ({"level": "towers"}, "`level` must be one of"),
        ({"cls": SplitMMoE, "level": "both"}, "`level` says where.*without `router`"),
        (
            {"level": "both", "router": {"per_example": True}},
            "`level` must be 'tower_input' for a router with per_example=True",
        ),
        (
            {"level": "tower_params", "router": Router(per_example=True)},
            "sum over the batch. Received: level='tower_params'",
        ),
        ({"num_dedicated_experts": -1}, "`num_dedicated_experts` must be"),
        ({"personal": (), "personal_gate": True}, "`personal_gate` needs features"),
        ({"cls": SplitMMoE, "updater": Updater()}, "`updater` learns"),
        ({"router": None}, "`updater` learns.*or updater=None"),
        ({"router": {"readings": "literal"}}, r"`router`.*'reading'.*'readings'"),
        ({"updater": {"rule": "none"}}, "`rule` must be one of"),
        ({"personal_gate": {"units": 3}}, r"`personal_gate`.*'hidden_units'.*'units'"),
        ({"personal": (), "personal_gate": GATE}, "`personal_gate` needs features"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)


def test_router_and_updater_are_made_from_their_arguments():
    model = make(router={"reading": "literal"}, updater={"rule": "softmax_sum"})
    assert model.router.reading == "literal"
    assert model.updater.rule == "softmax_sum"
    assert isinstance(make(SplitMMoE, router={}).router, Router)


@pytest.mark.parametrize("cls", [SplitMMoE, DRGrad])
@pytest.mark.parametrize(
    "given",
    [
        lambda: GATE,
        lambda: PersonalGate(**GATE, name="personal_gate"),
        lambda: serialize_keras_object(PersonalGate(**GATE, name="personal_gate")),
    ],
    ids=["arguments", "layer", "config"],
)
def test_personal_gate_takes_arguments(cls, given, tmp_path):
    model = make(cls, personal_gate=given())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        assert each.personal_gate.get_config().items() >= GATE.items()
    paths = [v.path for v in model.trainable_variables]
    assert [v.path for v in loaded.trainable_variables] == paths
    change = one_step(model)
    # `W` starts at 0: the hidden layer gets no gradient before it moved.
    assert np.any(change["personal_gate/gate/bias"] != 0)
    assert change["personal_gate/hidden/kernel"].shape == (1, 3, 5)
    change = one_step(model)
    assert np.any(change["personal_gate/hidden/kernel"] != 0)


def test_personal_gate_may_stop_the_gradient_of_its_embeddings():
    changes = []
    for stop_gradient in (False, True):
        model = make(SplitMMoE, personal_gate={"stop_gradient": stop_gradient})
        kernel = model.personal_gate.gate.kernel
        kernel.assign(tf.ones(kernel.shape))
        changes.append(one_step(model))
    assert changed(*changes) == {"embedding/user"}


@pytest.mark.parametrize("name", ["router", "updater", "personal_gate"])
def test_parts_must_be_what_they_are_for(name):
    with pytest.raises(TypeError, match=f"`{name}` must be a"):
        make(**{name: "paired"})


def test_both_are_registered():
    assert models.get("drgrad") is DRGrad
    assert models.get("split_mmoe") is SplitMMoE
