import numpy as np
import pytest

from tf_mtl.aggregators import GradVac, PCGrad, PCGradPlus
from tf_mtl.aggregators.visits import VisitingWeighting

JACOBIAN = np.random.default_rng(0).normal(size=(4, 3))


class Recorder(VisitingWeighting):
    """Moves nothing, and keeps what it meets."""

    def _move(self, cosines, visited):
        return 0.0 * cosines

    def _learn(self, cosines):
        self.met = cosines.numpy()


class SelfRecorder(Recorder):
    visits_itself = True


def test_each_task_meets_all_others():
    rows = JACOBIAN / np.linalg.norm(JACOBIAN, axis=1, keepdims=True)
    for make in (Recorder, SelfRecorder):
        aggregator = make()
        np.testing.assert_allclose(aggregator(JACOBIAN), JACOBIAN.sum(0))
        expected = rows @ rows.T
        if not aggregator.visits_itself:
            np.fill_diagonal(expected, np.nan)
        np.testing.assert_allclose(aggregator.met, expected)


def test_rows_of_norm_zero_and_absent_tasks_are_not_met():
    aggregator = Recorder()
    rows = JACOBIAN * [[1.0], [0.0], [1.0], [1.0]]
    aggregator(rows, present=[True, True, True, False])
    met = ~np.isnan(aggregator.met)
    np.testing.assert_array_equal(np.argwhere(met), [[0, 2], [2, 0]])


@pytest.mark.parametrize("method", [GradVac, PCGrad, PCGradPlus])
def test_a_row_of_norm_zero_changes_nothing(method):
    rows = np.insert(JACOBIAN, 2, 0.0, axis=0)
    with_zero = method(order="natural", reduction="sum")
    without = method(order="natural", reduction="sum")
    for scale in (1.0, -0.5):
        np.testing.assert_allclose(with_zero(scale * rows), without(scale * JACOBIAN))


@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e-12])
@pytest.mark.parametrize("method", [GradVac, PCGrad, PCGradPlus])
def test_direction_scales_with_the_rows(method, scale):
    direction = method(order="natural")(scale * JACOBIAN)
    expected = scale * method(order="natural")(JACOBIAN).numpy()
    np.testing.assert_allclose(direction, expected, rtol=1e-9)
