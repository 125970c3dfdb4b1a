"""Per-task gradients: capture, Gramian, combination, sparse rows."""

from tf_mtl.gradients.sparse import UniqueSlices, first_of_run, unique_ids, unique_slices

__all__ = ["UniqueSlices", "first_of_run", "unique_ids", "unique_slices"]
