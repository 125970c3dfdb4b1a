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


def compiled(router, jit_compile):
    return tf.function(lambda *args: router(*args), jit_compile=jit_compile)


def assert_all_close(actual, expected, **tolerance):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-5, "atol": 1e-6} | tolerance)


@READINGS
@pytest.mark.parametrize("signs", CASES["paired"])
def test_sign_cases_match_hand_computation(reading, signs):
    h, a = H[signs[0]], A[signs[1]]
    of_half, of_auxiliary, to_half = CASES[reading][signs]
    routes = Router(reading)(rows(D), rows(h), rows(a))
    own = of_half * h + of_auxiliary * a
    np.testing.assert_allclose(routes.dedicated[0, 0], own, rtol=1e-6)
    np.testing.assert_allclose(routes.shared_half[0, 0], to_half * h, rtol=1e-6)
    np.testing.assert_allclose(routes.cosines, [[signs[0] * 0.6, signs[1] * 0.8]])
    np.testing.assert_allclose(routes.ratios, [[0.4, 0.2]])
    norms = [np.linalg.norm(D + own), np.linalg.norm(h + to_half * h)]
    np.testing.assert_allclose(routes.norms, [norms], rtol=1e-6)


def test_gamma_is_the_exponent_of_the_ratios():
    routes = Router(gamma=2.0)(rows(D), rows(H[1]), rows(A[1]))
    np.testing.assert_allclose(routes.ratios, [[0.16, 0.04]], rtol=1e-6)
    expected = 0.16 * H[1] + 0.04 * A[1]
    np.testing.assert_allclose(routes.dedicated[0, 0], expected, rtol=1e-6)


def test_paired_reading_contains_pcgrad():
    # The auxiliary opposes d, so that only h is routed: r h and the correction.
    routes = Router()(rows(D), rows(H[-1]), rows(A[-1]))
    projected = D + routes.dedicated[0, 0] - 0.4 * H[-1]
    assert np.dot(projected, H[-1]) == pytest.approx(0.0, abs=1e-6)


@READINGS
def test_gradients_of_zero_count_as_agreement(reading):
    zero = np.zeros(2)
    routes = Router(reading)(rows(D), rows(zero), rows(A[1]))
    np.testing.assert_allclose(routes.ratios, [[1.0, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(routes.cosines, [[0.0, 0.8]], rtol=1e-6)
    share = {"paired": 0.2, "literal": 1.0}[reading]
    np.testing.assert_allclose(routes.dedicated[0, 0], share * A[1], rtol=1e-6)
    routes = Router(reading)(rows(zero), rows(H[1]), rows(zero))
    for tensor in (routes.dedicated, routes.shared_half, routes.ratios):
        np.testing.assert_array_equal(tensor, np.zeros_like(tensor))


@READINGS
def test_auxiliaries_are_averaged_and_absent_ones_left_out(reading):
    own, half, others = random_rows(1), random_rows(1), random_rows(3)
    router = Router(reading)
    each = [router(own, half, others[[i]]) for i in (0, 2)]
    hostile = others.copy()
    hostile[1] = np.nan
    routes = router(own, half, hostile, present=[True, True, False, True])
    for name in ("dedicated", "shared_half"):
        mean = np.mean([getattr(single, name) for single in each], axis=0)
        np.testing.assert_allclose(getattr(routes, name), mean, rtol=1e-5, atol=1e-6)


@READINGS
@pytest.mark.parametrize("auxiliaries", ["all", "secondary"])
def test_several_primary_tasks_are_routed_like_each_alone(reading, auxiliaries):
    own, half, others = random_rows(3), random_rows(3), random_rows(2)
    routes = Router(reading, auxiliaries=auxiliaries)(own, half, others)
    for p in range(3):
        rest = [half[q] for q in range(3) if q != p and auxiliaries == "all"]
        alone = Router(reading)(own[[p]], half[[p]], np.stack([*rest, *others]))
        for name in ("dedicated", "shared_half", "norms"):
            together = getattr(routes, name)[p : p + 1]
            assert_all_close(together, getattr(alone, name))


@READINGS
def test_absent_primary_task_is_out(reading):
    own, half, others = random_rows(2), random_rows(2), random_rows(2)
    alone = Router(reading)(own[:1], half[:1], others)
    own[1], half[1] = np.nan, np.inf
    routes = Router(reading)(own, half, others, present=[True, False, True, True])
    for name in ("dedicated", "shared_half", "norms"):
        assert_all_close(getattr(routes, name)[:1], getattr(alone, name))
        np.testing.assert_array_equal(
            getattr(routes, name)[1:], 0 * getattr(alone, name)
        )


@READINGS
def test_without_secondary_tasks_only_the_shared_half_is_routed(reading):
    routes = Router(reading)(rows(D), rows(H[-1]), tf.zeros([0, 1, 2]))
    share = {"paired": 1.6 * 0.4, "literal": 0.0}[reading]
    np.testing.assert_allclose(routes.dedicated[0, 0], share * H[-1], rtol=1e-6)
    np.testing.assert_array_equal(routes.shared_half, np.zeros([1, 1, 2]))


@READINGS
def test_per_example_routes_each_example_as_a_batch_of_its_own(reading):
    own, half, others = random_rows(2), random_rows(2), random_rows(3)
    routes = Router(reading, per_example=True)(own, half, others)
    assert routes.cosines.shape == (2, 5, 4)
    for b in range(4):
        single = Router(reading)(own[:, [b]], half[:, [b]], others[:, [b]])
        assert_all_close(routes.dedicated[:, b], single.dedicated[:, 0])
        assert_all_close(routes.shared_half[:, b], single.shared_half[:, 0])
        assert_all_close(routes.cosines[..., b], single.cosines)
    total = np.linalg.norm((own + routes.dedicated).numpy().reshape(2, -1), axis=1)
    np.testing.assert_allclose(routes.norms[:, 0], total, rtol=1e-5)


def test_nested_gradients_are_one_long_vector():
    parts = [random_rows(n, batch=2, units=5) for n in (1, 1, 3)]
    nested = [{"kernel": part[:, :, :4], "bias": part[:, :, 4]} for part in parts]
    routes, flat = Router()(*nested), Router()(*parts)
    for name in ("dedicated", "shared_half"):
        found, expected = getattr(routes, name), getattr(flat, name)
        assert_all_close(found["kernel"], expected[:, :, :4])
        assert_all_close(found["bias"], expected[:, :, 4])
    assert_all_close(routes[2:], flat[2:])


@pytest.mark.parametrize("per_example", [False, True])
def test_replicas_that_hold_parts_of_the_batch_route_as_one(per_example):
    parts = [random_rows(n) for n in (1, 1, 2)]
    router = Router(per_example=per_example)
    # Two replicas with equal parts: a sum over them doubles.
    replica = router(*parts, reduce_fn=lambda tensor: 2.0 * tensor)
    whole = router(*[np.concatenate([part, part], axis=1) for part in parts])
    assert_all_close(replica.dedicated, whole.dedicated[:, :4])
    assert_all_close(replica.shared_half, whole.shared_half[:, :4])
    assert_all_close([replica.norms], [whole.norms])


@READINGS
@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_agree_with_eager(reading, per_example, jit_compile):
    router = Router(reading, per_example=per_example)
    args = [random_rows(2), random_rows(2), random_rows(3)]
    args.append(np.array([True, True, True, False, True]))
    assert_all_close(compiled(router, jit_compile)(*args), router(*args))


def test_second_step_does_not_retrace():
    step = compiled(Router(), jit_compile=True)
    for _ in range(2):
        step(*[tf.constant(random_rows(n)) for n in (1, 1, 2)], tf.fill([3], True))
    assert step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_routed_gradients_have_the_dtype_of_the_gradients(dtype):
    parts = [tf.cast(random_rows(n), dtype) for n in (1, 1, 2)]
    routes = Router()(*parts)
    assert routes.dedicated.dtype == routes.shared_half.dtype == dtype
    inner = "float64" if dtype == "float64" else "float32"
    assert routes.norms.dtype == routes.cosines.dtype == inner
    expected = Router()(*[tf.cast(part, tf.float32) for part in parts])
    # All but the last rounding is done in float32: half a unit of bfloat16.
    assert_all_close(
        tf.cast(routes.dedicated, tf.float32), expected.dedicated, rtol=2**-8
    )


def test_gradient_that_is_not_finite_does_not_pass_unseen():
    parts = [random_rows(n) for n in (1, 1, 2)]
    for part in parts:
        broken = [np.where(p is part, np.float32(np.nan), p) for p in parts]
        routes = Router()(*broken)
        assert not np.all(np.isfinite(routes.dedicated))
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
    vectors = tf.constant(vectors, tf.float32)
    return vectors[:2], vectors[2:4], vectors[4:]


@READINGS
@pytest.mark.parametrize("per_example", [False, True])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(gradients=hostile_gradients())
def test_results_are_finite_and_bounded(reading, per_example, gradients):
    routes = Router(reading, per_example=per_example)(*gradients)
    for tensor in routes:
        assert np.all(np.isfinite(tensor))
    axis = -1 if per_example else (1, 2)

    def norms(tensor):
        return np.sqrt(np.sum(np.square(np.float64(tensor)), axis))

    slack = 1 + 1e-5
    assert np.all(norms(routes.shared_half) <= slack * norms(gradients[1]))
    if reading == "paired":
        # Squares of less than 1e-38 are 0 in float32.
        assert np.all(norms(routes.dedicated) <= 3 * slack * norms(gradients[0]))


def test_literal_reading_adds_an_opposing_auxiliary_of_any_length():
    routes = Router("literal")(rows(D), rows(D), rows(-1e3 * D))
    # r(h) = 1: all of it, against d.
    np.testing.assert_allclose(routes.dedicated[0, 0], -1e3 * D, rtol=1e-3)
    routes = Router("paired")(rows(D), rows(D), rows(-1e3 * D))
    np.testing.assert_allclose(routes.dedicated[0, 0], D, rtol=1e-6)


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
    ("sizes", "options", "match"),
    [
        ([(1, 4, 3), (2, 4, 3), (2, 4, 3)], {}, "must agree"),
        ([(1, 4, 3), (1, 4, 3), (2, 4, 2)], {}, "must agree"),
        ([(1, 3), (1, 3), (2, 3)], {"per_example": True}, "per_example=True"),
    ],
)
def test_shapes_are_checked(sizes, options, match):
    with pytest.raises(ValueError, match=match):
        Router(**options)(*[tf.ones(size) for size in sizes])


def test_present_is_checked():
    with pytest.raises(ValueError, match="`present`"):
        Router()(rows(D), rows(D), rows(D), present=[True])
