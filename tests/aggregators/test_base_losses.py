import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.aggregators import LossWeighting
from tf_mtl.aggregators.base_losses import BaseLosses, check_epoch


class Relative(LossWeighting):
    """Takes as weights the losses over those of the second epoch."""

    def _build(self, num_tasks):
        self.base = BaseLosses(self, num_tasks, epoch=1)

    def _weights(self, losses, present):
        self.base.update(losses)
        return self.base.relative(losses)

    def end_epoch(self):
        self.base.end_epoch()


def run_epoch(aggregator, batches, present=(True, True)):
    for losses in batches:
        weights = aggregator.weights(tf.constant(losses, tf.float64), present)
    aggregator.end_epoch()
    return weights.numpy()


def test_base_losses_are_means_of_their_epoch():
    aggregator = Relative()
    assert run_epoch(aggregator, [[5.0, 6.0]]) == pytest.approx([1.0, 1.0])
    assert run_epoch(aggregator, [[1.0, 4.0], [3.0, 8.0]]) == pytest.approx([1.0, 1.0])
    np.testing.assert_allclose(aggregator.base.value, [2.0, 6.0])
    # They stay.
    assert run_epoch(aggregator, [[1.0, 9.0]]) == pytest.approx([0.5, 1.5])
    assert run_epoch(aggregator, [[1.0, 9.0]]) == pytest.approx([0.5, 1.5])


def test_task_absent_in_that_epoch_gets_its_base_from_the_next():
    aggregator = Relative()
    run_epoch(aggregator, [[5.0, 6.0]])
    run_epoch(aggregator, [[2.0, 6.0]], present=[True, False])
    assert run_epoch(aggregator, [[4.0, 8.0]]) == pytest.approx([2.0, 1.0])
    assert run_epoch(aggregator, [[4.0, 4.0]]) == pytest.approx([2.0, 0.5])


def test_mean_is_over_batches_with_the_task():
    aggregator = Relative()
    aggregator.build(2)
    aggregator.end_epoch()
    aggregator.weights([2.0, 3.0])
    run_epoch(aggregator, [[4.0, np.nan]], present=[True, False])
    np.testing.assert_allclose(aggregator.base.value, [3.0, 3.0])


@pytest.mark.parametrize("epoch", [-1, 0.5])
def test_bad_epoch_is_refused(epoch):
    with pytest.raises(ValueError, match="`name` must be an int, at least 0"):
        check_epoch("name", epoch)
