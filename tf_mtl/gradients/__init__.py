"""Per-task gradients: capture, Gramian, combination, sparse rows."""

from tf_mtl.gradients.capture import (
    Gradient,
    add_by_variable,
    add_gradients,
    add_penalty,
    all_finite,
    global_norm,
    map_gradient,
    pull_back,
    share_of_replica,
    stack_rows,
)
from tf_mtl.gradients.gramian import gramian, inner_products
from tf_mtl.gradients.replicas import replica_sum
from tf_mtl.gradients.snapshot import Snapshot
from tf_mtl.gradients.sparse import (
    UniqueSlices,
    first_of_run,
    unique_ids,
    unique_slices,
)
from tf_mtl.gradients.task_gradients import Block, TaskGradients
from tf_mtl.gradients.task_specific import split_task_specific
from tf_mtl.gradients.updates import (
    reached_only,
    update_if_finite,
    warn_of_skipped_updates,
)

__all__ = [
    "Block",
    "Gradient",
    "Snapshot",
    "TaskGradients",
    "UniqueSlices",
    "add_by_variable",
    "add_gradients",
    "add_penalty",
    "all_finite",
    "first_of_run",
    "global_norm",
    "gramian",
    "inner_products",
    "map_gradient",
    "pull_back",
    "reached_only",
    "replica_sum",
    "share_of_replica",
    "split_task_specific",
    "stack_rows",
    "unique_ids",
    "unique_slices",
    "update_if_finite",
    "warn_of_skipped_updates",
]
