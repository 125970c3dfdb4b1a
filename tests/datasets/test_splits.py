import pytest

from tf_mtl.datasets.splits import parse_split


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train", slice(0, 30)),
        ("train[:90%]", slice(0, 27)),
        ("train[90%:]", slice(27, 30)),
        ("train[10%:20%]", slice(3, 6)),
    ],
)
def test_rows_of_a_part(split, rows):
    assert parse_split(split, ["train"]).rows(30) == rows


def test_neighbouring_parts_share_no_row_and_leave_none_out():
    below, above = (
        parse_split(split, ["train"]).rows(7)
        for split in ("train[:33%]", "train[33%:]")
    )
    assert below.stop == above.start


@pytest.mark.parametrize(
    "split", ["dev", "train[", "train[:9]", "train[50%:50%]", "train[:101%]", ""]
)
def test_error_lists_the_splits(split):
    with pytest.raises(ValueError, match=r"`split` must be one of \['test', 'train'\]"):
        parse_split(split, ["train", "test"])
