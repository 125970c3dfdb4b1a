import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_mtl.datasets import census_income

from .census_rows import make_rows


def ages(dataset):
    return [float(x["age"]) for x, _ in dataset]


def test_builder_prepares_both_splits(manual_dir, tmp_path):
    builder = census_income.CensusIncome(data_dir=tmp_path / "prepared")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    assert builder.info.splits["train"].num_examples == 30
    assert builder.info.splits["test"].num_examples == 12
    row = next(iter(builder.as_dataset(split="test").take(1)))
    assert row["age"] == 60.0
    assert row["hisp_origin"] == b"NA"
    assert row["instance_weight"].dtype == tf.float32


def test_builder_without_files_says_how_to_get_them(tmp_path):
    builder = census_income.CensusIncome(data_dir=tmp_path / "prepared")
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "nothing")
    with pytest.raises(AssertionError, match="(?s)nothing.*census-income.data"):
        builder.download_and_prepare(download_config=config)


def test_load_gives_rows_in_the_order_of_the_file(manual_dir, tmp_path):
    dataset = census_income.load("train", manual_dir, tmp_path / "prepared")
    features, labels = dataset.element_spec
    assert set(features) == {*census_income.NUMERIC, *census_income.CATEGORICAL}
    assert labels == dict.fromkeys(census_income.LABELS, tf.TensorSpec((), tf.float32))
    assert ages(dataset) == list(range(30))
    assert [float(y["never_married"]) for _, y in dataset] == [1.0, 0.0, 0.0] * 10


def test_rows_keep_their_order_over_several_files(manual_dir, tmp_path):
    paths = census_income.census_files.find(manual_dir)
    name = census_income.census_files.fingerprint(paths)
    builder = census_income.CensusIncome(
        data_dir=tmp_path, config=tfds.core.BuilderConfig(name=name)
    )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=manual_dir, num_shards=3
        )
    )
    columns = census_income.load_columns("train", manual_dir, tmp_path)
    assert columns["age"].numpy().tolist() == list(range(30))


def test_load_batches_shuffled(manual_dir, tmp_path):
    (batch, labels), *rest = census_income.load(
        "train", manual_dir, tmp_path / "prepared", batch_size=20, shuffle_seed=0
    )
    assert len(rest) == 1
    assert batch["age"].numpy().tolist() != list(range(20))
    np.testing.assert_array_equal(labels["income"], batch["age"] % 5 == 0)


def test_load_takes_a_part(manual_dir, tmp_path):
    dataset = census_income.load("train[90%:]", manual_dir, tmp_path / "prepared")
    assert ages(dataset) == [27, 28, 29]


def test_other_files_are_not_answered_from_the_cache(manual_dir, tmp_path):
    cache = tmp_path / "prepared"
    assert len(ages(census_income.load("test", manual_dir, cache))) == 12
    (manual_dir / "census-income.test").write_text(make_rows(5, first_age=90))
    assert ages(census_income.load("test", manual_dir, cache)) == [90, 91, 92, 93, 94]


def test_second_load_reads_the_cache(manual_dir, tmp_path, monkeypatch):
    census_income.load("train", manual_dir, tmp_path / "prepared")
    monkeypatch.setattr(
        census_income.census_files, "read_rows", lambda path: pytest.fail("read again")
    )
    columns = census_income.load_columns("train", manual_dir, tmp_path / "prepared")
    assert set(columns) == {
        *census_income.NUMERIC,
        *census_income.CATEGORICAL,
        *census_income.LABELS,
        "instance_weight",
    }


def test_bad_row_leaves_no_prepared_data(manual_dir, tmp_path):
    path = manual_dir / "census-income.test"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(ValueError, match="census-income.test', record 12: "):
        census_income.load("train", manual_dir, tmp_path / "prepared")
    path.write_text(make_rows(4))
    assert len(ages(census_income.load("test", manual_dir, tmp_path / "prepared"))) == 4


def test_damaged_cache_is_named_by_file_and_record(manual_dir, tmp_path):
    cache = tmp_path / "prepared"
    census_income.load("train", manual_dir, cache)
    (path,) = cache.rglob("census_income-train.tfrecord*")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"train\.tfrecord.*record 30; 29 records"):
        census_income.load("train", manual_dir, cache)


def test_missing_folder_and_unknown_split_are_refused(manual_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="`manual_dir` must hold"):
        census_income.load("train", tmp_path / "nothing")
    with pytest.raises(ValueError, match="`split` must be one of"):
        census_income.load("validation", manual_dir)


def test_feature_lists():
    numeric, categorical = census_income.features()
    assert (len(numeric), len(categorical)) == (7, 32)
    _, strict = census_income.features(strict=True)
    assert set(categorical) - set(strict) == {
        "tax_filer_stat",
        "det_hh_fam_stat",
        "det_hh_summ",
    }
    _, dropped = census_income.features(drop_education=True)
    assert set(categorical) - set(dropped) == {"education"}
