import numpy as np
import tensorflow as tf

from tf_mtl.aggregators.softmax import present_softmax, scaled_softmax

LOGITS = tf.constant([np.log(2.0), 700.0, np.log(6.0)], tf.float64)
PRESENT = tf.constant([True, False, True])


def test_weights_are_shared_among_present_tasks():
    weights = present_softmax(LOGITS, PRESENT)
    np.testing.assert_allclose(weights, [0.25, 0.0, 0.75], rtol=1e-12)
    weights = scaled_softmax(LOGITS, PRESENT)
    np.testing.assert_allclose(weights, [0.5, 0.0, 1.5], rtol=1e-12)


def test_no_task_present_gives_zeros():
    np.testing.assert_array_equal(scaled_softmax(LOGITS, tf.fill([3], False)), [0] * 3)
