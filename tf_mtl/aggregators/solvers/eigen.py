"""Eigenvalues and eigenvectors to the precision of float64, compiled or not."""

import tensorflow as tf

# From 1e-6, each sweep about squares what is left, and eigenvalues that are close
# together need one or two more.
_NUM_SWEEPS = 6


def symmetric_eigen(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Eigenvalues and eigenvectors of a symmetric matrix.

    `tf.linalg.eigh` compiled by XLA stops at 1e-6 of the largest eigenvalue, too early
    to tell which are 0. Here Jacobi's rotations go on from there. Those of a round are
    of disjoint pairs of places, and a sweep of rounds meets every pair once.

    Args:
        matrix: float64 tensor of shape `(size, size)`, symmetric and finite.

    Returns:
        `values`, float64 `(size,)`, in no order, right to about 1e-15 of the largest;
        and `vectors`, float64 `(size, size)`, the eigenvectors as columns.
    """
    size = matrix.shape[0]
    _, vectors = tf.linalg.eigh(matrix)
    rotated = tf.matmul(vectors, tf.matmul(matrix, vectors), transpose_a=True)
    # A place is paired with the one as far from the other end, so their number must
    # be even. What is added is never mixed with the rest.
    padding = size % 2
    places = size + padding
    rotated = tf.pad(rotated, [[0, padding], [0, padding]])
    vectors = tf.pad(vectors, [[0, 0], [0, padding]])
    # Between rounds all places but the first move on by one.
    order = [0, places - 1, *range(1, places - 1)]
    side = tf.constant([1.0] * (places // 2) + [-1.0] * (places // 2), tf.float64)

    def turn(rotated: tf.Tensor, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values = tf.linalg.diag_part(rotated)
        paired = tf.linalg.diag_part(tf.reverse(rotated, [1]))
        # Both places of a pair must see one number, or the turn is no rotation.
        product = paired + tf.reverse(paired, [0])
        distance = tf.reverse(values, [0]) - values
        sign = tf.where(distance == 0.0, side, tf.sign(distance))
        long = tf.abs(distance) + tf.sqrt(tf.square(distance) + tf.square(product))
        tangent = sign * tf.math.divide_no_nan(product, long)
        cosine = tf.math.rsqrt(1.0 + tf.square(tangent))
        sine = tangent * cosine
        rotated = cosine * rotated - sine * tf.reverse(rotated, [1])
        rotated = cosine[:, None] * rotated - sine[:, None] * tf.reverse(rotated, [0])
        vectors = cosine * vectors - sine * tf.reverse(vectors, [1])
        rotated = tf.gather(tf.gather(rotated, order), order, axis=1)
        return rotated, tf.gather(vectors, order, axis=1)

    rotated, vectors = tf.while_loop(
        lambda *_: True,
        turn,
        (rotated, vectors),
        maximum_iterations=_NUM_SWEEPS * (places - 1),
    )
    return tf.linalg.diag_part(rotated)[:size], vectors[:, :size]
