"""Unit-norm coordinates, in which all solvers work."""

import tensorflow as tf

# Keeps the system of dependent rows solvable.
_RIDGE = 1e-12
# Enough for eigenvalues 1e-13 apart.
_NUM_SQUARINGS = 48


def unit_rows(gramian: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits a Gramian into the cosines and the norms of its rows.

    What is solved in terms of cosines does not depend on the scale of the gradients,
    and norms may lie decades apart. Inner products that were rounded to float32 may
    belong to no rows at all: their cosines have a negative eigenvalue. Then twice
    its size is added to the diagonal.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite.

    Returns:
        `cosines`, float64 `(num_tasks, num_tasks)`, positive semi-definite up to the
        rounding of float64, 0 in rows and columns of norm 0; and `norms`, float64
        `(num_tasks,)`.
    """
    norms = tf.sqrt(tf.maximum(tf.linalg.diag_part(gramian), 0.0))
    cosines = tf.math.divide_no_nan(gramian, norms[:, None] * norms[None, :])
    missing = tf.maximum(-_lowest_eigenvalue(cosines), 0.0)
    repair = tf.where(norms > 0.0, 2.0 * missing, 0.0)
    return cosines + tf.linalg.diag(repair), norms


def solve_cosines(gramian: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Weights of the vector with given inner products with the unit rows.

    With targets of 1, the vector makes equal angles with all rows. Dependent rows
    share the weight, thanks to a ridge of 1e-12 on the cosines; if no vector has the
    targets, the weights are huge. Rows of norm 0 are left out.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite, rows and
            columns of absent tasks 0.
        targets: float64 tensor of shape `(num_tasks,)`.

    Returns:
        float64 tensor of shape `(num_tasks,)`, weights of the rows as they are, not
        of the unit rows. 0 for rows of norm 0.
    """
    cosines, norms = unit_rows(gramian)
    has_norm = norms > 0.0
    # Rows of norm 0 become those of the identity, with the solution 0.
    extra = tf.where(has_norm, tf.constant(_RIDGE, tf.float64), 1.0)
    system = cosines + tf.linalg.diag(extra)
    targets = tf.where(has_norm, targets, 0.0)
    solution = tf.linalg.cholesky_solve(tf.linalg.cholesky(system), targets[:, None])
    return tf.math.divide_no_nan(solution[:, 0], norms)


def _lowest_eigenvalue(matrix: tf.Tensor) -> tf.Tensor:
    """Lowest eigenvalue of a symmetric matrix, by a power method that squares.

    Right to about 1e-14 of the largest. `eigvalsh` compiled by XLA may be off by 1e-7.
    """
    largest = tf.reduce_max(tf.reduce_sum(tf.abs(matrix), axis=1))
    # Its largest eigenvalue belongs to the lowest of `matrix`, none is negative.
    power = tf.eye(matrix.shape[0], dtype=tf.float64)
    power -= tf.math.divide_no_nan(matrix, 2.0 * largest)

    def square(power: tf.Tensor) -> tuple[tf.Tensor]:
        power = tf.matmul(power, power)
        return (power / tf.linalg.trace(power),)

    [power] = tf.while_loop(
        lambda _: True, square, (power,), maximum_iterations=_NUM_SQUARINGS
    )
    return tf.reduce_sum(power * matrix)
