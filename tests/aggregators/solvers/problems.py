"""Jacobians of all the kinds that a solver meets, and how to run it on them."""

import numpy as np
import tensorflow as tf

NUM_TASKS = [2, 6, 14]


def regular_jacobians(num_tasks, num_draws=2):
    """Rows without a vanishing convex combination."""
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
        for rank in sorted({1, 2, num_tasks // 2, num_tasks - 1, num_tasks}):
            kinds[f"rank {rank}"] = random.normal(size=(num_tasks, rank))
            norms = 10.0 ** random.uniform(-3, 3, size=(num_tasks, 1))
            kinds[f"rank {rank}, spread norms"] = norms * kinds[f"rank {rank}"]
        jacobians |= {f"{kind} {draw}": value for kind, value in kinds.items()}
    return jacobians


def all_jacobians(num_tasks):
    return regular_jacobians(num_tasks) | singular_jacobians(num_tasks)


def gramians(jacobians):
    return np.stack([jacobian @ jacobian.T for jacobian in jacobians.values()])


def solve_all(solver, problems, jit_compile=True):
    """Solves a batch of problems, compiled once."""

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(batch):
        return tf.map_fn(solver, batch)

    return run(tf.constant(problems)).numpy()


def row_norms(jacobian):
    return np.linalg.norm(jacobian, axis=1)


def size(weights, jacobian):
    """What the error of a weighted sum of rows is compared to."""
    return np.sum(np.abs(weights) * row_norms(jacobian))
