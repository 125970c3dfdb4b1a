"""Per-task gradients: capture, Gramian, combination, sparse rows."""

from tf_mtl.gradients.capture import (
    Gradient,
    add_gradients,
    add_penalty,
    all_finite,
    global_norm,
    map_gradient,
    pull_back,
    share_of_replica,
    stack_rows,
)
from tf_mtl.gradients.sparse import (
    UniqueSlices,
    first_of_run,
    unique_ids,
    unique_slices,
)
from tf_mtl.gradients.task_gradients import Block, TaskGradients

__all__ = [
    "Block",
    "Gradient",
    "TaskGradients",
    "UniqueSlices",
    "add_gradients",
    "add_penalty",
    "all_finite",
    "first_of_run",
    "global_norm",
    "map_gradient",
    "pull_back",
    "share_of_replica",
    "stack_rows",
    "unique_ids",
    "unique_slices",
]
