import numpy as np
import pytest

from tf_mtl import aggregators


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_weights_solve_the_defining_equation(alpha):
    rows = np.random.default_rng(0).normal(size=(5, 9)) * 10.0 ** np.arange(5)[:, None]
    aggregator = aggregators.FairGrad(alpha=alpha, max_norm=None)
    weights = aggregator.weights(rows @ rows.T).numpy()
    gains = rows @ (weights @ rows)
    np.testing.assert_allclose(gains * weights ** (1 / alpha), 1.0, rtol=1e-6)


def test_orthogonal_rows_match_hand_computation():
    # n^2 w = w^(-1/2)
    direction = aggregators.FairGrad(max_norm=None)(np.diag([1.0, 8.0]))
    np.testing.assert_allclose(direction, [1.0, 8.0 ** (-1 / 3)], rtol=1e-9)


def test_alpha_of_one_is_nash_mtl():
    rows = np.random.default_rng(1).normal(size=(4, 6))
    expected = aggregators.NashMTL()(rows)
    np.testing.assert_allclose(aggregators.FairGrad(alpha=1.0)(rows), expected)


def test_gains_become_even_as_alpha_grows():
    rows = np.random.default_rng(2).normal(size=(3, 6)) * [[1.0], [3.0], [9.0]]
    spreads = []
    for alpha in (0.5, 2.0, 5.0):
        gains = rows @ aggregators.FairGrad(alpha=alpha)(rows).numpy()
        spreads.append(gains.max() / gains.min())
    assert spreads[0] > spreads[1] > spreads[2] > 1.0


@pytest.mark.parametrize("alpha", [0.0, 20.0])
def test_bad_alpha_is_refused(alpha):
    with pytest.raises(ValueError, match="`alpha` must be in"):
        aggregators.FairGrad(alpha=alpha)
