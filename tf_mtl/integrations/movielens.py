"""MovieLens 100K: the official files, read from a local folder."""

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np

PAGE = "https://grouplens.org/datasets/movielens/100k/"

# `u.item`: id, title, two dates and an address, then a flag for each genre.
_ITEM_FIELDS = 5 + 19


@dataclasses.dataclass(frozen=True)
class MovieLens:
    """Ratings of movies by users.

    Attributes:
        ratings: columns by name, in the order of the file, each of shape `(ratings,)`:
            `user_id` and `movie_title`, strings; `user_rating`, float32, 1 to 5;
            `timestamp`, int64, seconds since 1970.
        users: sorted distinct user ids, strings.
        titles: sorted distinct titles of all movies, rated or not. A few movies share
            a title, and count as one.
    """

    ratings: dict[str, np.ndarray]
    users: np.ndarray
    titles: np.ndarray


def load(folder: str | pathlib.Path) -> MovieLens:
    """Reads `u.data` and `u.item`. Nothing is downloaded.

    Args:
        folder: the unpacked archive `ml-100k`. Its licence asks not to pass it on.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if a line is not in the official format.
    """
    folder = pathlib.Path(folder)
    titles = {
        movie: title
        for _, (movie, title, *_) in _rows(folder / "u.item", "|", _ITEM_FIELDS)
    }
    users, movies, scores, seconds = [], [], [], []
    path = folder / "u.data"
    for number, (user, movie, score, second) in _rows(path, "\t", 4):
        if movie not in titles:
            raise ValueError(
                f"{path}, line {number}: movie {movie!r} is not in u.item. The two "
                "files must be of one release."
            )
        if score not in ("1", "2", "3", "4", "5") or not second.isdigit():
            raise ValueError(
                f"{path}, line {number}: a rating from 1 to 5 and a time in seconds "
                f"are expected. Received: {score!r} and {second!r}."
            )
        users.append(user)
        movies.append(titles[movie])
        scores.append(score)
        seconds.append(second)
    return MovieLens(
        ratings={
            "user_id": np.array(users),
            "movie_title": np.array(movies),
            "user_rating": np.array(scores, "float32"),
            "timestamp": np.array(seconds, "int64"),
        },
        users=np.unique(users),
        titles=np.unique([*titles.values()]),
    )


def _rows(
    path: pathlib.Path, separator: str, num_fields: int
) -> Iterator[tuple[int, list[str]]]:
    """Fields of each line, with its number from 1."""
    if not path.is_file():
        raise FileNotFoundError(
            f"`folder` must hold {path.name} of MovieLens 100K. Received: {path.parent}"
            f". Get ml-100k.zip from {PAGE} and unpack it."
        )
    with path.open(encoding="latin-1") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\n").split(separator)
            if len(fields) != num_fields:
                raise ValueError(
                    f"{path}, line {number}: {num_fields} fields separated by "
                    f"{separator!r} are expected. Received {len(fields)}: {line!r}."
                )
            yield number, fields
