"""Router against hand-computed gradients and what its docstring claims."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_mtl.routing import Router

RNG = np.random.default_rng(0)
READINGS = pytest.mark.parametrize("reading", ["paired", "literal"])

# |d| = 2, |h| = 5 with a ratio of 0.4 and cosines of +-0.6, |a| = 10 with a ratio of
# 0.2 and cosines of +-0.8.
D = np.array([2.0, 0.0])
H = {+1: np.array([3.0, 4.0]), -1: np.array([-3.0, 4.0])}
A = {+1: np.array([8.0, 6.0]), -1: np.array([-8.0, 6.0])}

# By sign of cos(d, h) and cos(d, a): the coefficients of h and a in what the dedicated
# branch gets, and of h in what the shared half gets.
CASES = {
    "paired": {
        (+1, +1): (0.4, 0.2, 0.0),
        (-1, +1): (1.6 * 0.4, 0.2, 0.6 * 0.8),
        (+1, -1): (0.4, 0.0, 0.6 * 0.8),
        (-1, -1): (1.6 * 0.4, 0.0, 0.0),
    },
    "literal": {
        (+1, +1): (0.2, 0.4, 0.0),
        (-1, +1): (0.2, 0.0, 0.6 * 0.8),
        (+1, -1): (1.8 * 0.2, 0.4, 0.6 * 0.8),
        (-1, -1): (1.8 * 0.2, 0.0, 0.0),
    },
}


def rows(*vectors):
    """Gradients `(num_rows, 1, units)` of a batch of one example."""
    return tf.constant(np.stack(vectors)[:, None], tf.float32)


def random_rows(num_rows, batch=4, units=3):
    return RNG.normal(size=(num_rows, batch, units)).astype("float32")


def route(router, own, half, secondary, **kwargs):
    """Routes gradients of dedicated branches, shared halves and secondary tasks."""
    return router(np.concatenate([own, half, secondary]), len(own), **kwargs)


def compiled(router, jit_compile):
    return tf.function(router, jit_compile=jit_compile)


def assert_all_close(actual, expected, **tolerance):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-5, "atol": 1e-6} | tolerance)


@READINGS
@pytest.mark.parametrize("signs", CASES["paired"])
def test_sign_cases_match_hand_computation(reading, signs):
    h, a = H[signs[0]], A[signs[1]]
    of_half, of_auxiliary, to_half = CASES[reading][signs]
    routes = Router(reading)(rows(D, h, a), 1)
    own = D + of_half * h + of_auxiliary * a
    expected = [own, (1.0 + to_half) * h, a]
    assert_all_close(routes.gradients[:, 0], expected)
    np.testing.assert_allclose(routes.cosines, [[signs[0] * 0.6, signs[1] * 0.8]])
    np.testing.assert_allclose(routes.ratios, [[0.4, 0.2]])
    norms = np.linalg.norm(expected[:2], axis=1)
    np.testing.assert_allclose(routes.norms, [norms], rtol=1e-6)


def test_gamma_is_the_exponent_of_the_ratios():
    routes = Router(gamma=2.0)(rows(D, H[1], A[1]), 1)
    np.testing.assert_allclose(routes.ratios, [[0.16, 0.04]], rtol=1e-6)
    expected = D + 0.16 * H[1] + 0.04 * A[1]
    np.testing.assert_allclose(routes.gradients[0, 0], expected, rtol=1e-6)


def test_paired_reading_contains_pcgrad():
    # The auxiliary opposes d, so that only h is routed: r h and the correction.
    routes = Router()(rows(D, H[-1], A[-1]), 1)
    projected = routes.gradients[0, 0] - 0.4 * H[-1]
    assert np.dot(projected, H[-1]) == pytest.approx(0.0, abs=1e-6)


@READINGS
def test_gradients_of_zero_count_as_agreement(reading):
    zero = np.zeros(2)
    routes = Router(reading)(rows(D, zero, A[1]), 1)
    np.testing.assert_allclose(routes.ratios, [[1.0, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(routes.cosines, [[0.0, 0.8]], rtol=1e-6)
    share = {"paired": 0.2, "literal": 1.0}[reading]
    np.testing.assert_allclose(routes.gradients[0, 0], D + share * A[1], rtol=1e-6)
    routes = Router(reading)(rows(zero, H[1], zero), 1)
    np.testing.assert_array_equal(routes.ratios, [[0.0, 0.0]])
    np.testing.assert_array_equal(routes.gradients, routes.received)


@READINGS
def test_auxiliaries_are_averaged_and_absent_ones_left_out(reading):
    own, half, others = random_rows(1), random_rows(1), random_rows(3)
    router = Router(reading)
    each = [route(router, own, half, others[[i]]).gradients[:2] for i in (0, 2)]
    others[1] = 0.0
    routes = route(router, own, half, others, present=[True, True, False, True])
    assert_all_close(routes.gradients[:2], np.mean(each, axis=0))


@READINGS
@pytest.mark.parametrize("auxiliaries", ["all", "secondary"])
def test_several_primary_tasks_are_routed_like_each_alone(reading, auxiliaries):
    own, half, others = random_rows(3), random_rows(3), random_rows(2)
    routes = route(Router(reading, auxiliaries=auxiliaries), own, half, others)
    for p in range(3):
        rest = [half[q] for q in range(3) if q != p and auxiliaries == "all"]
        alone = route(Router(reading), own[[p]], half[[p]], [*rest, *others])
        assert_all_close(tf.gather(routes.gradients, [p, 3 + p]), alone.gradients[:2])
        assert_all_close(routes.norms[p], alone.norms[0])


@READINGS
def test_absent_primary_task_is_out(reading):
    own, half, others = random_rows(2), random_rows(2), random_rows(2)
    alone = route(Router(reading), own[:1], half[:1], others)
    own[1], half[1] = 0.0, 0.0
    present = [True, False, True, True]
    routes = route(Router(reading), own, half, others, present=present)
    assert_all_close(tf.gather(routes.gradients, [0, 2]), alone.gradients[:2])
    np.testing.assert_array_equal(tf.gather(routes.gradients, [1, 3]), 0.0)
    assert_all_close(routes.norms, [alone.norms[0], [0.0, 0.0]])


@READINGS
def test_without_secondary_tasks_only_the_shared_half_is_routed(reading):
    routes = Router(reading)(rows(D, H[-1]), 1)
    share = {"paired": 1.6 * 0.4, "literal": 0.0}[reading]
    assert_all_close(routes.gradients[:, 0], [D + share * H[-1], H[-1]])


@READINGS
def test_per_example_routes_each_example_as_a_batch_of_its_own(reading):
    own, half, others = random_rows(2), random_rows(2), random_rows(3)
    routes = route(Router(reading, per_example=True), own, half, others)
    assert routes.cosines.shape == (4, 2, 5)
    for b in range(4):
        single = route(Router(reading), own[:, [b]], half[:, [b]], others[:, [b]])
        assert_all_close(routes.gradients[:, b], single.gradients[:, 0])
        assert_all_close(routes.cosines[b], single.cosines)
    total = np.linalg.norm(routes.gradients.numpy().reshape(7, -1), axis=1)
    np.testing.assert_allclose(routes.norms, total[:4].reshape(2, 2).T, rtol=1e-5)


def test_nested_gradients_are_one_long_vector():
    part = random_rows(5, batch=2, units=5)
    nested = {"kernel": part[:, :, :4], "bias": part[:, :, 4]}
    routes, flat = Router()(nested, 1), Router()(part, 1)
    assert_all_close(routes.gradients["kernel"], flat.gradients[:, :, :4])
    assert_all_close(routes.gradients["bias"], flat.gradients[:, :, 4])
    assert_all_close(routes[2:], flat[2:])


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("num_primary", [1, 2])
def test_replicas_that_hold_parts_of_the_batch_route_as_one(per_example, num_primary):
    part = random_rows(5)
    router = Router(per_example=per_example)
    # Two replicas with equal parts: a sum over them doubles.
    replica = router(part, num_primary, reduce_fn=lambda tensor: 2.0 * tensor)
    whole = router(np.concatenate([part, part], axis=1), num_primary)
    assert_all_close(replica.gradients, whole.gradients[:, :4])
    assert_all_close([replica.norms], [whole.norms])


@READINGS
@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_agree_with_eager(reading, per_example, jit_compile):
    router = Router(reading, per_example=per_example)
    branches = random_rows(7)
    branches[5] = 0.0
    args = (branches, 2, np.array([True, True, True, False, True]))
    assert_all_close(compiled(router, jit_compile)(*args), router(*args))


def test_second_step_does_not_retrace():
    step = compiled(Router(), jit_compile=True)
    for _ in range(2):
        step(tf.constant(random_rows(4)), 1, tf.fill([3], True))
    assert step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_routed_gradients_have_the_dtype_of_the_gradients(dtype):
    part = tf.cast(random_rows(4), dtype)
    routes = Router()(part, 1)
    assert routes.gradients.dtype == dtype
    inner = "float64" if dtype == "float64" else "float32"
    assert routes.norms.dtype == routes.cosines.dtype == inner
    expected = Router()(tf.cast(part, tf.float32), 1)
    # All but the last rounding is done in float32: half a unit of bfloat16.
    assert_all_close(
        tf.cast(routes.gradients, tf.float32), expected.gradients, rtol=2**-8
    )


def test_gradient_that_is_not_finite_does_not_pass_unseen():
    for branch in range(4):
        broken = random_rows(4)
        broken[branch] = np.nan
        routes = Router()(broken, 1)
        assert not np.all(np.isfinite(routes.gradients[0]))
        assert not np.all(np.isfinite(routes.norms))


@st.composite
def hostile_gradients(draw):
    """Gradients of two primary and up to three secondary tasks, of any scale.

    Some are zero, or equal or opposite to others.
    """
    num_rows = 4 + draw(st.integers(0, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    vectors = random.normal(size=(num_rows, 2, 3))
    exponents = st.integers(-10, 10)
    scales = draw(st.lists(exponents, min_size=num_rows, max_size=num_rows))
    vectors *= 10.0 ** np.array(scales)[:, None, None]
    for row in range(1, num_rows):
        multiple = draw(st.sampled_from([None, None, 0.0, 1.0, -1.0]))
        if multiple is not None:
            vectors[row] = multiple * vectors[draw(st.integers(0, row - 1))]
    return vectors.astype("float32")


@READINGS
@pytest.mark.parametrize("per_example", [False, True])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(gradients=hostile_gradients())
def test_results_are_finite_and_bounded(reading, per_example, gradients):
    routes = Router(reading, per_example=per_example)(gradients, 2)
    for tensor in routes:
        assert np.all(np.isfinite(tensor))
    axis = -1 if per_example else (1, 2)

    def norms(tensor):
        return np.sqrt(np.sum(np.square(np.float64(tensor)), axis))

    slack, before, after = 1 + 1e-5, norms(gradients), norms(routes.gradients)
    total = np.sqrt(np.sum(np.square(after[:4].reshape(4, -1)), axis=1))
    np.testing.assert_allclose(routes.norms, total.reshape(2, 2).T, rtol=1e-5)
    assert np.all(after[2:4] <= 2 * slack * before[2:4])
    if reading == "paired":
        # Squares of less than 1e-38 are 0 in float32.
        assert np.all(after[:2] <= 4 * slack * before[:2])


def test_literal_reading_adds_an_opposing_auxiliary_of_any_length():
    branches = rows(D, D, -1e3 * D)
    # r(h) = 1: all of it, against d.
    routes = Router("literal")(branches, 1)
    np.testing.assert_allclose(routes.gradients[0, 0], -1e3 * D, rtol=2e-3)
    routes = Router("paired")(branches, 1)
    np.testing.assert_allclose(routes.gradients[0, 0], 2 * D, rtol=1e-6)


def test_config_round_trip():
    router = Router("literal", 0.5, per_example=True, auxiliaries="secondary")
    config = keras.saving.serialize_keras_object(router)
    revived = keras.saving.deserialize_keras_object(config)
    assert isinstance(revived, Router)
    assert revived.get_config() == router.get_config()


@pytest.mark.parametrize(
    "kwargs", [{"reading": "swapped"}, {"gamma": 0.0}, {"auxiliaries": "none"}]
)
def test_arguments_are_checked(kwargs):
    with pytest.raises(ValueError, match=f"`{next(iter(kwargs))}`"):
        Router(**kwargs)


@pytest.mark.parametrize(
    ("gradients", "options", "match"),
    [
        (tf.ones([3, 4, 3]), {}, "`num_primary`"),
        ([tf.ones([4, 3]), tf.ones([5, 3])], {}, "agree in the first"),
        (tf.ones([4, 3]), {"per_example": True}, "per_example=True"),
    ],
)
def test_shapes_are_checked(gradients, options, match):
    with pytest.raises(ValueError, match=match):
        Router(**options)(gradients, 2)


def test_present_is_checked():
    with pytest.raises(ValueError, match="`present`"):
        Router()(rows(D, D, D), 1, present=[True])
