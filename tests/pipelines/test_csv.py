import gzip

import pyarrow as pa
import pytest

from pipelines.data import csv


def read(tmp_path, text, columns=None, name="rows.csv"):
    path = tmp_path / name
    with gzip.open(path, "wt") if name.endswith(".gz") else path.open("w") as file:
        file.write(text)
    return list(csv.read_blocks(str(path), columns))


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_rows_become_lists_and_empty_cells_null(tmp_path, name):
    [block] = read(tmp_path, "a, b,c\n1, x ,0.5\n, ,2\n", name=name)
    types = csv.infer_types(block)
    assert types == {"a": "int", "b": "bytes", "c": "float"}
    batch = csv.to_record_batch(block, types)
    assert batch.to_pydict() == {
        "a": [[1], None],
        "b": [[b"x"], None],
        "c": [[0.5], [2.0]],
    }
    assert batch.schema.field("a").type == pa.list_(pa.int64())


def test_columns_may_be_named(tmp_path):
    [block] = read(tmp_path, "1,x\n", ["a", "b"])
    assert csv.infer_types(block) == {"a": "int", "b": "bytes"}


def test_names_may_be_quoted_behind_a_byte_order_mark(tmp_path):
    [block] = read(tmp_path, '\ufeff"city, state", "say ""hi"""\nx,1\n')
    assert block.header == ("city, state", 'say "hi"')
    assert csv.infer_types(block) == {"city, state": "bytes", 'say "hi"': "int"}


def test_byte_order_mark_is_no_part_of_a_value(tmp_path):
    [block] = read(tmp_path, "\ufeff1,x\n", ["a", "b"])
    assert csv.infer_types(block) == {"a": "int", "b": "bytes"}


def test_types_hold_the_values_of_all_blocks():
    blocks = [{"a": "int", "b": "float"}, {"a": "float", "b": "int"}, {"a": "int"}]
    assert csv.merge_types(blocks) == {"a": "float", "b": "float"}


def test_long_files_come_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "_BLOCK", 2)
    blocks = read(tmp_path, "a\n1\n2\n3\n")
    assert [(block.first, block.lines) for block in blocks] == [
        (2, b"1\n2\n"),
        (4, b"3\n"),
    ]


def test_row_of_wrong_length_is_named(tmp_path):
    [block] = read(tmp_path, "a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"rows\.csv'.*lines from 2.*Expected 2 col"):
        csv.infer_types(block)


def test_cut_file_is_named(tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"123\n456\n" * 5000)[:-20])
    with pytest.raises(ValueError, match=r"rows\.csv\.gz' is damaged or cut off"):
        list(csv.read_blocks(str(path), None))
