import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.solvers.problems import NUM_TASKS, all_jacobians, row_norms
from tf_mtl.aggregators.solvers import symmetric_eigen, with_exact_rank


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("size", [1, *NUM_TASKS, 30])
def test_eigenvalues_match_numpy(size, jit_compile):
    matrices = []
    for rows in all_jacobians(max(size, 2)).values():
        unit_rows = (rows / row_norms(rows)[:, None])[:size]
        matrices.append(unit_rows @ unit_rows.T)
    pair = (tf.float64, tf.float64)
    solve = tf.function(
        lambda batch: tf.map_fn(symmetric_eigen, batch, fn_output_signature=pair),
        jit_compile=jit_compile,
        autograph=False,
    )
    for matrix, values, vectors in zip(
        matrices, *(part.numpy() for part in solve(np.stack(matrices))), strict=True
    ):
        precision = 1e-14 * size
        expected = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(np.sort(values), expected, atol=precision)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(size), atol=precision)
        restored = vectors * values @ vectors.T
        np.testing.assert_allclose(restored, matrix, atol=precision)


def test_rounding_to_float32_no_longer_hides_the_rank():
    rows = np.random.default_rng(0).normal(size=(6, 3))
    rounded = (rows @ rows.T).astype(np.float32).astype(np.float64)
    assert np.linalg.matrix_rank(rounded, hermitian=True) > 3
    exact = with_exact_rank(tf.constant(rounded)).numpy()
    assert np.linalg.matrix_rank(exact, hermitian=True) == 3
    np.testing.assert_allclose(exact, rows @ rows.T, rtol=1e-5)
