"""Methods that ask which rows are dependent, on Gramians of float32."""

import numpy as np
import pytest

from tests.aggregators.solvers.problems import row_norms, solve_all
from tf_mtl import aggregators


def dependent_rows(num_tasks, num_draws=5):
    """Rows of which one or two follow from the others, and their names."""
    random = np.random.default_rng(num_tasks)
    found = {}
    for draw in range(num_draws):
        rows = random.normal(size=(num_tasks, num_tasks + 3))
        rows *= 10.0 ** random.uniform(-1.0, 1.0, size=(num_tasks, 1))
        first, others = rows[:1], rows[:-1]
        kinds = {
            "duplicate": [others, first],
            "multiple": [others, 3.3 * first],
            "combination": [others, 1.7 * others.mean(axis=0, keepdims=True)],
            "two": [others[:-1], -0.7 * first, -0.6 * first],
        }
        for kind, parts in kinds.items():
            found[f"{kind} {draw}"] = np.concatenate(parts)[-num_tasks:]
    return found


def least_squares_point(rows):
    """The vector with inner products with the unit rows that are nearest to 1."""
    unit_rows = rows / row_norms(rows)[:, None]
    inverse = np.linalg.pinv(unit_rows, rcond=1e-9)
    point = inverse @ np.ones(len(rows))
    # Of opposite rows only rounding is left.
    return point * (np.linalg.norm(point) > 1e-9), inverse.T @ point


def config(rows):
    point, _ = least_squares_point(rows)
    squared_norm = point @ point
    return point * (rows @ point).sum() / squared_norm if squared_norm else point


def imtl_g(rows):
    point, weights = least_squares_point(rows)
    total = abs(np.sum(weights / row_norms(rows)))
    return point / total if total else point


def aligned_mtl(rows):
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    is_kept = values > 1e-9 * values[0]
    mean = left[:, is_kept].mean(axis=0)
    return values[is_kept][-1] * mean @ right[is_kept]


REFERENCES = {"aligned_mtl": aligned_mtl, "config": config, "imtl_g": imtl_g}


@pytest.mark.parametrize("num_tasks", [2, 3, 6, 14])
@pytest.mark.parametrize("name", REFERENCES)
def test_dependent_rows_are_seen_as_such_in_float32(name, num_tasks):
    jacobians = dependent_rows(num_tasks)
    gramians = np.stack([rows @ rows.T for rows in jacobians.values()])
    weights = solve_all(aggregators.get(name).weights, gramians.astype(np.float32))
    exact = solve_all(aggregators.get(name).weights, gramians, jit_compile=False)
    for (kind, rows), rounded, other in zip(
        jacobians.items(), weights, exact, strict=True
    ):
        expected = REFERENCES[name](rows)
        scale = np.linalg.norm(expected) or np.linalg.norm(rows)
        error = np.linalg.norm(other @ rows - expected)
        assert error < 1e-10 * scale, kind
        # Rounding is felt by as much as the smallest singular value is below 1.
        error = np.linalg.norm(rounded @ rows - expected)
        assert error < 1e-4 * scale, kind


def test_small_independent_rows_are_kept_in_float32():
    # Their eigenvalue is 1e-10 of the largest, but their cosine is 0.
    weights = aggregators.AlignedMTL().weights(np.diag([1.0, 1e-10]).astype("float32"))
    np.testing.assert_allclose(weights, [0.5e-5, 0.5], rtol=1e-6)
