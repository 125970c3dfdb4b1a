r"""Writes the records of a made-up feed.

Example:
  python -m pipelines.synthetic_feed.generator --output_dir=feed --num_rows=20000
"""

import os
import pathlib
import sys

import numpy as np
from absl import flags

from tf_mtl import cli

# Share of exposures with a label, and of those that are 1, by task.
TASKS = {
    "click": (1.0, 0.3),
    "dwell_10s": (0.9, 0.25),
    "dwell_30s": (0.9, 0.12),
    "complete": (0.9, 0.1),
    "like": (0.7, 0.12),
    "comment": (0.7, 0.05),
    "share": (0.7, 0.05),
    "save": (0.7, 0.06),
    "follow": (0.7, 0.04),
    "profile_visit": (0.5, 0.1),
    "hide": (1.0, 0.05),
    "report": (1.0, 0.02),
    "purchase": (0.5, 0.03),
    "return_visit": (0.3, 0.4),
}
# Known where there was a click.
AFTER_CLICK = ("comment", "follow", "purchase")
_COUNTRIES = ("br", "de", "in", "jp", "us")
_DEVICES = ("phone", "tablet", "tv", "web")
_TOPICS = ("art", "food", "games", "music", "news", "sport", "travel", "")
_NUM_USERS, _NUM_ITEMS, _NUM_AUTHORS, _RANK = 300, 500, 50, 4


def define_flags(values: flags.FlagValues) -> None:
    """Defines the options."""
    flags.DEFINE_string("output_dir", "feed", "Folder to fill.", flag_values=values)
    flags.DEFINE_integer("num_rows", 20000, "Rows of both splits.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of the rows.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Writes the records."""
    files = write(values.output_dir, values.num_rows, values.seed)
    for split, names in files.items():
        print(f"{split}: {', '.join(names)}")


def make_columns(num_rows: int, seed: int) -> dict[str, np.ndarray]:
    """Makes columns of features and labels.

    Every task is a noisy function of user, item and topic, of the inner product of user
    and item in its own metric, so that some tasks agree and some conflict, and of hour
    and age.

    Args:
        num_rows: int.
        seed: int. The same arguments give the same rows.

    Returns:
        dict of arrays `(num_rows,)`: strings, int64, float32; labels are float32, NaN
        where unknown.
    """
    rng = np.random.default_rng(seed)
    # The world is the same for every seed; the seed draws the rows.
    world = np.random.default_rng(0)
    users, items = world.standard_normal((2, max(_NUM_USERS, _NUM_ITEMS), _RANK))
    # People and items are met unequally often.
    user = (_NUM_USERS * rng.random(num_rows) ** 2).astype(int)
    item = (_NUM_ITEMS * rng.random(num_rows) ** 2).astype(int)
    topic = item % len(_TOPICS)
    hour = rng.integers(0, 24, num_rows)
    age = rng.exponential(48.0, num_rows).astype(np.float32)
    product = users[user] * items[item]
    columns = {
        "user_id": np.char.add("u", user.astype(str)),
        "item_id": np.char.add("i", item.astype(str)),
        "author_id": np.char.add("a", (item % _NUM_AUTHORS).astype(str)),
        "country": np.array(_COUNTRIES)[user % len(_COUNTRIES)],
        "device": rng.choice(_DEVICES, num_rows),
        "topic": np.array(_TOPICS)[topic],
        "hour": hour.astype(np.int64),
        "item_age_hours": age,
        "user_activity": np.log1p(_NUM_USERS - user).astype(np.float32),
    }
    for name, (share_known, share_positive) in TASKS.items():
        logits = (
            product @ world.standard_normal(_RANK) / 2
            + world.standard_normal(_NUM_USERS)[user]
            + world.standard_normal(_NUM_ITEMS)[item]
            + world.standard_normal(len(_TOPICS))[topic]
            + 0.5 * np.sin(2 * np.pi * (hour / 24 + world.random()))
            - 0.3 * np.log1p(age / 48)
        )
        # The threshold of a noisy score gives the share of positives.
        score = logits + rng.logistic(size=num_rows)
        label = score > np.quantile(score, 1 - share_positive)
        known = rng.random(num_rows) < share_known
        if name in AFTER_CLICK:
            known &= columns["click"] == 1
        columns[name] = np.where(known, label, np.nan).astype(np.float32)
    return columns


def write(
    output_dir: str | os.PathLike[str], num_rows: int, seed: int
) -> dict[str, list[str]]:
    """Writes `train` and `eval`, nine rows to one. An unknown label is NaN.

    Args:
        output_dir: folder of the files.
        num_rows: int. Rows of both splits.
        seed: int.

    Returns:
        dict of file names by split.

    Raises:
        FileExistsError: if the files exist.
    """
    # Needs TensorFlow, which the names of the tasks do not.
    from tf_mtl.datasets import records
    from tf_mtl.datasets.columns import take_rows

    columns = make_columns(num_rows, seed)
    parts = {"train": slice(num_rows // 10, None), "eval": slice(num_rows // 10)}
    folder = pathlib.Path(output_dir)
    return {
        split: records.write(folder / split, take_rows(columns, rows))
        for split, rows in parts.items()
    }


if __name__ == "__main__":
    module = sys.modules[__name__]
    sys.exit(
        cli.run_command(module, "pipelines.synthetic_feed.generator", sys.argv[1:])
    )
