"""Unit-norm coordinates, in which all solvers work."""

import tensorflow as tf

from tf_mtl.aggregators.solvers.eigen import symmetric_eigen

# An eigenvalue below this share of the largest, times the size, is rounding.
FLOAT64_RANK = 64.0 * 2.0**-52
FLOAT32_RANK = 2.0 * 2.0**-23
# Rounding to float32 moves the eigenvalues of cosines by some 1e-7.
FLOAT32_RIDGE = 1e-6
# Targets of which no more than this square of a share can be reached cannot be.
_LEAST_REACHED = 1e-10
# Enough for eigenvalues 1e-13 apart.
_NUM_SQUARINGS = 48


def row_norms(gramian: tf.Tensor) -> tf.Tensor:
    """Norms of the rows with a Gramian, `(num_tasks,)`, 0 for a negative diagonal."""
    return tf.sqrt(tf.maximum(tf.linalg.diag_part(gramian), 0.0))


def cosines_and_norms(gramian: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits a Gramian into cosines, 0 in rows and columns of norm 0, and norms."""
    norms = row_norms(gramian)
    return tf.math.divide_no_nan(gramian, norms[:, None] * norms[None, :]), norms


def with_exact_rank(gramian: tf.Tensor) -> tf.Tensor:
    """The Gramian of float32 rows, with dependent rows exactly so.

    Rounding to float32 lifts the eigenvalues of the cosines that should be 0, so that
    a row that is the sum of others counts as independent of them. Eigenvalues that it
    may explain become 0.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite, of products
            that were rounded to float32.

    Returns:
        Tensor like `gramian`, positive semi-definite up to the rounding of float64.
    """
    cosines, norms = cosines_and_norms(gramian)
    values, vectors = symmetric_eigen(cosines)
    noise = tf.where(~is_positive(values, FLOAT32_RANK), values, 0.0)
    cosines -= tf.matmul(vectors * noise, vectors, transpose_b=True)
    return norms[:, None] * cosines * norms[None, :]


def with_ridge(gramian: tf.Tensor) -> tf.Tensor:
    """The Gramian of float32 rows, each squared norm larger by 1e-6 of it.

    No eigenvalue of the cosines is then only rounding.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite.

    Returns:
        Tensor like `gramian`.
    """
    return gramian + tf.linalg.diag(FLOAT32_RIDGE * tf.linalg.diag_part(gramian))


def is_positive(eigenvalues: tf.Tensor, precision: float = FLOAT64_RANK) -> tf.Tensor:
    """Which eigenvalues are not 0 to the precision of the matrix, bool like them."""
    size = eigenvalues.shape[0]
    return eigenvalues > size * precision * tf.reduce_max(eigenvalues)


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
    cosines, norms = cosines_and_norms(gramian)
    missing = tf.maximum(-_lowest_eigenvalue(cosines), 0.0)
    repair = tf.where(norms > 0.0, 2.0 * missing, 0.0)
    return cosines + tf.linalg.diag(repair), norms


def solve_cosines(gramian: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Weights of the vector with given inner products with the unit rows.

    With targets of 1, the vector makes equal angles with all rows. It is the shortest
    such vector, or, if no vector has the targets, the shortest of those that come
    nearest in the sense of least squares. Equal rows share a weight. Rows of norm 0
    are left out.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite, rows and
            columns of absent tasks 0.
        targets: float64 tensor of shape `(num_tasks,)`.

    Returns:
        float64 tensor of shape `(num_tasks,)`, weights of the rows as they are, not
        of the unit rows. 0 for rows of norm 0, and for all if less than 1e-5 of the
        targets can be reached, as for opposite rows.
    """
    cosines, norms = cosines_and_norms(gramian)
    targets = tf.where(norms > 0.0, targets, 0.0)
    values, vectors = symmetric_eigen(cosines)
    parts = tf.linalg.matvec(vectors, targets, transpose_a=True)
    parts = tf.where(is_positive(values), parts, 0.0)
    reached = tf.reduce_sum(tf.square(parts))
    is_reachable = reached > _LEAST_REACHED * tf.reduce_sum(tf.square(targets))
    solution = tf.linalg.matvec(vectors, tf.math.divide_no_nan(parts, values))
    solution = tf.where(is_reachable, solution, 0.0)
    return tf.math.divide_no_nan(solution, norms)


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
