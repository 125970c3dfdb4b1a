"""The reader of the official MovieLens files."""

import pytest

from tf_mtl.integrations import movielens

from .movielens_files import NUM_MOVIES, NUM_USERS, write_files


@pytest.fixture
def folder(tmp_path):
    write_files(tmp_path / "ml-100k", num_ratings=400)
    return tmp_path / "ml-100k"


def test_columns_follow_the_file(folder):
    data = movielens.load(folder)
    first = (folder / "u.data").read_text().splitlines()[0].split("\t")
    assert [column[0] for column in data.ratings.values()] == [
        first[0],
        f"Café {first[1]} (1995)",
        float(first[2]),
        int(first[3]),
    ]
    assert {len(column) for column in data.ratings.values()} == {400}
    assert data.ratings["user_rating"].dtype == "float32"
    assert (len(data.users), len(data.titles)) == (NUM_USERS, NUM_MOVIES)


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"u\.item .*grouplens"):
        movielens.load(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t2\t3", "line 401: 4 fields"),
        ("1\t2\t6\t880000000", "line 401: a rating from 1 to 5"),
        ("1\t2\t3\tnow", "line 401: a rating from 1 to 5"),
        ("1\t999\t3\t880000000", "line 401: movie '999' is not in u.item"),
    ],
)
def test_a_bad_line_is_named(folder, line, message):
    with (folder / "u.data").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        movielens.load(folder)
