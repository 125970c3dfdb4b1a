"""Split names with an optional percent range, such as `"train[:90%]"`."""

import re
from collections.abc import Collection
from typing import NamedTuple

_SPLIT = re.compile(r"(\w+)(?:\[(?:(\d+)%)?:(?:(\d+)%)?\])?")


class Split(NamedTuple):
    """A named split and the part of its rows that is meant.

    Attributes:
        name: string. Name of the whole split.
        start: int in `[0, 100]`. Percent of the rows before the part.
        stop: int in `[start, 100]`. Percent of the rows up to the part's end.
    """

    name: str
    start: int
    stop: int

    def rows(self, num_rows: int) -> slice:
        """The rows of the part, by position in the whole split.

        Args:
            num_rows: int. Number of rows of the whole split.

        Returns:
            Slice of rows. Parts that meet at a percentage share no row and leave
            none out.
        """
        return slice(num_rows * self.start // 100, num_rows * self.stop // 100)


def parse_split(split: str, names: Collection[str]) -> Split:
    """Reads a split in the notation of TensorFlow Datasets.

    Args:
        split: string. `"train"`, or a part of it by row position in whole percent:
            `"train[:90%]"`, `"train[90%:]"`, `"train[10%:20%]"`.
        names: strings. The splits that exist.

    Returns:
        `Split`.

    Raises:
        ValueError: if the split is unknown or the range is malformed.
    """
    match = _SPLIT.fullmatch(split)
    if match and match[1] in names:
        result = Split(match[1], int(match[2] or 0), int(match[3] or 100))
        if result.start < result.stop <= 100:
            return result
    raise ValueError(
        f"`split` must be one of {sorted(names)}, or a part of one in whole percent "
        f"such as 'train[:90%]'. Received: split={split!r}."
    )
