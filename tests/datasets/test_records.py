import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.datasets import records

COLUMNS = {
    "id": np.arange(20, dtype=np.int64) + 2**40,
    "value": np.linspace(-1, 1, 20, dtype=np.float32),
    "vector": np.arange(60, dtype=np.float32).reshape(20, 3),
    "word": np.array(["café", "?"] * 10),
}
SPEC = records.parsing_spec(COLUMNS)


def read_all(pattern, **kwargs):
    batches = list(records.read(pattern, SPEC, **kwargs).as_numpy_iterator())
    return {name: np.concatenate([b[name] for b in batches]) for name in SPEC}


def flip_byte(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.tfrecord"


def test_what_is_written_is_read(path):
    (name,) = records.write(path, COLUMNS)
    assert name == f"{path}-00000-of-00001"
    read = read_all(f"{path}-*", batch_size=7)
    for key in ("id", "value", "vector"):
        np.testing.assert_array_equal(read[key], COLUMNS[key])
    assert [word.decode() for word in read["word"]] == COLUMNS["word"].tolist()


def test_shards_hold_consecutive_rows_and_are_read_in_one_order(path):
    names = records.write(path, COLUMNS, num_shards=3)
    assert [records.verify(name) for name in names] == [6, 7, 7]
    np.testing.assert_array_equal(read_all(names[1])["id"], COLUMNS["id"][6:13])
    first, second = (read_all(f"{path}-*")["id"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), COLUMNS["id"])


def test_more_shards_than_rows(path):
    names = records.write(path, {"id": [7]}, num_shards=2)
    assert [records.verify(name) for name in names] == [0, 1]


def test_batches_of_a_dataset_are_dealt_to_the_shards(path):
    dataset = tf.data.Dataset.from_tensor_slices(COLUMNS).batch(8)
    names = records.write(path, dataset, num_shards=2)
    assert [records.verify(name) for name in names] == [12, 8]
    np.testing.assert_array_equal(np.sort(read_all(f"{path}-*")["id"]), COLUMNS["id"])


def test_existing_files_are_refused_whatever_their_number(path):
    records.write(path, COLUMNS, num_shards=2)
    with pytest.raises(FileExistsError, match="`path`.*00000-of-00002.*another path"):
        records.write(path, COLUMNS)


def test_a_failed_write_leaves_no_file(path, tmp_path):
    def batches():
        yield COLUMNS
        raise RuntimeError("source ended")

    with pytest.raises(RuntimeError, match="source ended"):
        records.write(path, batches())
    assert not list(tmp_path.iterdir())


def test_bad_columns_are_refused(path):
    with pytest.raises(TypeError, match="'when' of dtype datetime64"):
        records.write(path, {"when": np.zeros(2, "datetime64[s]")})
    with pytest.raises(ValueError, match="'a': 1, 'b': 2"):
        records.write(path, {"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match="`num_shards`.*num_shards=0"):
        records.write(path, COLUMNS, num_shards=0)


@pytest.mark.parametrize("function", [records.verify, lambda p: records.read(p, SPEC)])
def test_no_match_names_the_pattern(function, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`pattern`.*nothing-\*"):
        function(tmp_path / "nothing-*")


@pytest.fixture(params=["cut", "flip"])
def broken(request, path, tmp_path):
    """A pattern whose second file has a damaged last record."""
    records.write(path, COLUMNS, num_shards=2)
    file = tmp_path / "rows.tfrecord-00001-of-00002"
    size = file.stat().st_size
    if request.param == "cut":
        with file.open("r+b") as stream:
            stream.truncate(size - 5)
    else:
        flip_byte(file, size - 5)
    return f"{path}-*"


DAMAGE = "rows.tfrecord-00001-of-00002.*record 10; 9 records before it"


def test_damage_is_named_by_file_and_record(broken):
    with pytest.raises(ValueError, match=DAMAGE):
        records.verify(broken)
    with pytest.raises(ValueError, match=DAMAGE), records.named_errors():
        read_all(broken)


def test_damage_is_named_in_datasets_made_from_the_one_that_is_read(broken):
    @records.named_errors()
    def evaluate(dataset):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(loss="mse")
        model.evaluate(dataset, verbose=0)

    with pytest.raises(ValueError, match=DAMAGE):
        evaluate(
            records.read(broken, SPEC, batch_size=4)
            .map(lambda row: (row["vector"], row["value"]))
            .shuffle(2)
            .repeat(2)
        )


def test_damage_elsewhere_is_passed_on(path, monkeypatch):
    # Datasets of other tests may still be in use by the tracebacks of their errors.
    monkeypatch.setattr(records, "_FILES", weakref.WeakKeyDictionary())
    records.write(path, COLUMNS)
    dataset = records.read(f"{path}-*", SPEC)
    with pytest.raises(tf.errors.DataLossError), records.named_errors():
        raise tf.errors.DataLossError(None, None, "another file")
    assert dataset in records._FILES


def test_files_are_forgotten_with_their_dataset(path):
    records.write(path, COLUMNS)
    dataset = records.read(f"{path}-*", SPEC)
    reference = weakref.ref(dataset)
    del dataset
    gc.collect()
    assert reference() is None
