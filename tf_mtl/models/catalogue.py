"""A table of all architectures, read off their classes."""

import dataclasses

from tf_mtl import features
from tf_mtl.docstrings import citation, summary
from tf_mtl.models.registry import get, names
from tf_mtl.tasks import Task

# Named by the papers of DRGrad and GradCraft, as method, baseline or backbone.
SEEDS = frozenset(
    {
        "ac_mmoe",
        "cgc",
        "drgrad",
        "mmoe",
        "pepnet",
        "ple",
        "ppnet",
        "shared_bottom",
        "single_task",
        "snr_aver",
        "snr_trans",
        "split_mmoe",
    }
)

# The reference configuration: 20 id features of width 16, the first one personal, and
# three binary tasks, the first one primary.
_NUM_FEATURES, _EMBEDDING_DIM, _NUM_TASKS = 20, 16, 3


@dataclasses.dataclass(frozen=True)
class Entry:
    """One architecture.

    Attributes:
        name: registered name.
        is_seed: bool. Whether the papers of DRGrad or GradCraft name it.
        summary: first line of its docstring.
        parameters: int. Trainable parameters beside the embedding tables, with default
            arguments, for 20 id features of width 16 and three binary tasks.
        reference: where it comes from, empty if it needs no source.
    """

    name: str
    is_seed: bool
    summary: str
    parameters: int
    reference: str


def entries() -> list[Entry]:
    """All registered architectures, in alphabetical order."""
    return [_entry(name) for name in names()]


def table() -> str:
    """The architectures as text, two lines each."""
    found = entries()
    width = max(len(entry.name) for entry in found)
    lines = []
    for entry in found:
        origin = "seed" if entry.is_seed else "beyond"
        head = f"{entry.name:{width}}  {origin:6}  {entry.parameters:>9,}"
        lines.append(f"{head}  {entry.summary}")
        if entry.reference:
            lines.append(" " * (len(head) + 2) + entry.reference)
    return "\n".join(lines)


def _entry(name: str) -> Entry:
    cls = get(name)
    ids = [
        features.IntegerRange(
            f"id_{i}", 2, embedding_dim=_EMBEDDING_DIM, personal=i == 0
        )
        for i in range(_NUM_FEATURES)
    ]
    tasks = [Task(f"task_{i}", primary=i == 0) for i in range(_NUM_TASKS)]
    model = cls(ids, tasks)
    return Entry(
        name, name in SEEDS, summary(cls), model.count_parameters(), citation(cls)
    )
