"""Variables that a single task reaches, told from shared ones by the graph."""

from collections.abc import Sequence

from tf_mtl.gradients.capture import Gradient


def split_task_specific(
    rows: Sequence[Sequence[Gradient]],
) -> tuple[list[Gradient], list[list[Gradient]]]:
    """Takes the gradients of task-specific variables out of the rows of tasks.

    Args:
        rows: list over tasks of lists over variables, `None` where the loss of the task
            does not reach the variable.

    Returns:
        list over variables of the gradient of the one task that reaches it, `None`
        where none or several do; and rows of the same form as `rows`, with `None` for
        task-specific variables.
    """
    columns = list(zip(*rows, strict=True))
    is_shared = [sum(g is not None for g in column) > 1 for column in columns]
    own = [
        None if shared else next((g for g in column if g is not None), None)
        for column, shared in zip(columns, is_shared, strict=True)
    ]
    kept = [
        [g if shared else None for g, shared in zip(row, is_shared, strict=True)]
        for row in rows
    ]
    return own, kept
