"""Jacobians of all the kinds that a solver meets, and how to run it on them."""

import functools

import numpy as np
import pytest
import tensorflow as tf

_ALWAYS = (2, 3, 6, 14)
NUM_TASKS = [
    pytest.param(n, marks=() if n in _ALWAYS else pytest.mark.slow)
    for n in range(2, 15)
]

# What XLA compiles has one size of batch, at least that of `all_jacobians(14)`.
_BATCH = 128

# For `at_precision`.
PRECISIONS = pytest.mark.parametrize("precision", ["float64", "float32"])


def regular_jacobians(num_tasks, num_draws=2):
    """Rows without a vanishing convex combination.

    "Pair" is of two rows at that angle, among random ones.
    """
    random = np.random.default_rng(num_tasks)
    shape = (num_tasks, num_tasks + 3)

    def spread(decades):
        return 10.0 ** random.uniform(-decades, decades, size=(num_tasks, 1))

    jacobians = {}
    for draw in range(num_draws):
        rows = random.normal(size=shape)
        common = random.normal(size=(1, shape[1]))
        kinds = {
            "random": rows,
            "aligned": rows + 3.0 * common,
            "conflicting": rows - rows.mean(axis=0) + 0.1 * common,
            "spread norms": rows * spread(3),
            "wide spread": (rows + 3.0 * common) * spread(5),
            "nearly parallel": common + 1e-3 * rows,
            "parallel": common * random.uniform(0.1, 10.0, size=(num_tasks, 1)),
            "duplicate": np.concatenate([rows[1:], rows[1:2]]),
            "orthogonal": np.eye(num_tasks) * spread(1),
            "mixed scales": rows * spread(10),
            "pair at 1e-6": _with_pair(rows, 1e-6),
            "pair at 1e-4": _with_pair(rows, 1e-4),
            "pair at 1e-2": _with_pair(rows, 1e-2),
            "tiny": 1e-10 * rows,
            "huge": 1e10 * rows,
        }
        jacobians |= {f"{kind} {draw}": value for kind, value in kinds.items()}
    return jacobians


def singular_jacobians(num_tasks, num_draws=2):
    """Dependent rows, most with a vanishing convex combination."""
    random = np.random.default_rng(100 + num_tasks)
    jacobians = {}
    for draw in range(num_draws):
        rows = random.normal(size=(num_tasks, num_tasks + 3))
        kinds = {
            "opposite": np.concatenate([rows[1:], -rows[1:2]]),
            "opposite of another norm": np.concatenate([rows[1:], -1e-3 * rows[1:2]]),
            "centred": rows - rows.mean(axis=0),
        }
        for rank in range(1, num_tasks + 1):
            kinds[f"rank {rank}"] = random.normal(size=(num_tasks, rank))
            norms = 10.0 ** random.uniform(-3, 3, size=(num_tasks, 1))
            kinds[f"rank {rank}, spread norms"] = norms * kinds[f"rank {rank}"]
            norms = 10.0 ** random.uniform(-10, 10, size=(num_tasks, 1))
            kinds[f"rank {rank}, mixed scales"] = norms * kinds[f"rank {rank}"]
        jacobians |= {f"{kind} {draw}": value for kind, value in kinds.items()}
    return jacobians


def all_jacobians(num_tasks):
    return regular_jacobians(num_tasks) | singular_jacobians(num_tasks)


def without_mixed_scales(jacobians):
    """Those whose norms are not up to 20 decades apart."""
    return {name: rows for name, rows in jacobians.items() if "mixed" not in name}


def gramians(jacobians):
    return np.stack([jacobian @ jacobian.T for jacobian in jacobians.values()])


def at_precision(precision, jacobians):
    """The problems as they are, or with Gramians rounded to float32.

    A rounded Gramian that belongs to no rows gets what the solvers give it: twice the
    size of the lowest eigenvalue of the cosines on their diagonal.

    Returns:
        dict from name to rows with these Gramians, and the float64 Gramians.
    """
    if precision == "float64":
        return jacobians, gramians(jacobians)
    found, products = {}, []
    for name, jacobian in jacobians.items():
        norms = row_norms(jacobian)
        unit_rows = jacobian / norms[:, None]
        cosines = (unit_rows @ unit_rows.T).astype(np.float32).astype(np.float64)
        missing = max(0.0, -np.linalg.eigvalsh(cosines)[0])
        values, vectors = np.linalg.eigh(cosines + 2.0 * missing * np.eye(len(norms)))
        found[name] = norms[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
        products.append(norms[:, None] * cosines * norms)
    return found, np.stack(products)


def solve_all(solver, problems, *arguments, jit_compile=True):
    """Solves a batch of problems.

    Args:
        solver: function of a Gramian and `arguments`. For the same function, number of
            tasks and numbers in `arguments` it is compiled once in all tests.
        problems: array of Gramians.
        *arguments: numbers, which are constants of what is compiled, and arrays.
        jit_compile: bool.
    """
    places = np.arange(_BATCH if jit_compile else len(problems)) % len(problems)
    run = _solver_of_batches(solver, jit_compile)
    return run(tf.constant(problems[places]), *arguments).numpy()[: len(problems)]


@functools.cache
def _solver_of_batches(solver, jit_compile):
    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(batch, *arguments):
        return tf.map_fn(lambda gramian: solver(gramian, *arguments), batch)

    return run


def forget_compiled_solvers():
    _solver_of_batches.cache_clear()


def row_norms(jacobian):
    return np.linalg.norm(jacobian, axis=1)


def size(weights, jacobian):
    """What the error of a weighted sum of rows is compared to."""
    return np.sum(np.abs(weights) * row_norms(jacobian))


def _with_pair(rows, angle):
    """The rows, the last replaced by one at an angle to the first."""
    first = rows[0] / np.linalg.norm(rows[0])
    other = rows[-1] - (rows[-1] @ first) * first
    other /= np.linalg.norm(other)
    last = np.cos(angle) * first + np.sin(angle) * other
    return np.concatenate([rows[:-1], 0.3 * last[None]])
