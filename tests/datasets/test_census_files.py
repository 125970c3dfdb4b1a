import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest

from tf_mtl.datasets import census_files

from .census_rows import make_row, make_rows


def write(folder, text):
    path = folder / "census-income.data"
    path.write_text(text)
    return path


def test_columns_are_those_of_the_documentation():
    assert len(census_files.COLUMNS) == 42
    assert len(census_files.NUMERIC) == 7
    assert len(census_files.CATEGORICAL) == 32
    assert not {"instance_weight", "marital_stat", "income_50k"} & {
        *census_files.NUMERIC,
        *census_files.CATEGORICAL,
    }


def test_values_of_a_row(tmp_path):
    (row,) = census_files.read_rows(write(tmp_path, make_row(age=41)))
    assert row["age"] == 41.0
    assert row["capital_gains"] == 5178.0
    assert row["stock_dividends"] == 12.5
    assert row["instance_weight"] == 1081.52
    assert row["hisp_origin"] == "NA"
    assert row["state_prev_res"] == "?"
    assert row["own_or_self"] == "2"
    assert row["det_ind_code"] == "37"
    assert row["citizenship"] == "Native- Born in the United States"
    assert (row["income"], row["never_married"]) == (0.0, 1.0)
    assert set(row) == {
        *census_files.NUMERIC,
        *census_files.CATEGORICAL,
        "instance_weight",
        "income",
        "never_married",
    }


@pytest.mark.parametrize(
    ("text", "label"),
    [("- 50000.", 0.0), ("-50000", 0.0), ("50000+.", 1.0), (" 50000+ ", 1.0)],
)
def test_income_with_and_without_space_and_period(tmp_path, text, label):
    (row,) = census_files.read_rows(write(tmp_path, make_row(income=text)))
    assert row["income"] == label


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (make_row(income="60000."), "Column 'income_50k' must be one of"),
        (make_row(marital="Unknown"), "Column 'marital_stat'.*Received: 'Unknown'"),
        (make_row(age="old"), "Column 'age' must be a number. Received: 'old'"),
        (make_row(age="nan"), "Column 'age' must be a number"),
        ("7, " + make_row(), "must have 42 columns. Received: 43"),
        (make_row()[:200], "must have 42 columns"),
        ("\n", "must have 42 columns. Received: 1"),
    ],
)
def test_bad_row_is_named_by_file_and_record(tmp_path, line, message):
    path = write(tmp_path, make_rows(2) + line)
    with pytest.raises(ValueError, match=f"census-income.data', record 3: .*{message}"):
        list(census_files.read_rows(path))


def test_text_of_another_encoding_is_named_by_file_and_record(tmp_path):
    path = write(tmp_path, make_rows(9))
    damaged = path.read_bytes().splitlines(keepends=True)
    damaged[6] = damaged[6].replace(b",", b"\xff,", 1)
    path.write_bytes(b"".join(damaged))
    with pytest.raises(ValueError, match="damaged or cut off at record 7"):
        list(census_files.read_rows(path))


def test_damaged_gzip_is_named_by_file_and_record(tmp_path):
    path = tmp_path / "census-income.data.gz"
    # Rows that hardly compress: a cut then falls in the middle of the rows.
    ages = np.random.default_rng(0).integers(0, 10**15, 2000)
    whole = gzip.compress("".join(make_row(age) for age in ages).encode())
    path.write_bytes(whole[: len(whole) // 2])
    read = []
    with pytest.raises(ValueError, match=r"data.gz' is damaged.*record \d+") as error:
        read.extend(row["age"] for row in census_files.read_rows(path))
    assert f"record {len(read) + 1}. " in str(error.value)
    assert 0 < len(read) < 2000
    path.write_bytes(b"not gzip at all")
    with pytest.raises(ValueError, match="damaged or cut off at record 1"):
        list(census_files.read_rows(path))
    path.write_bytes(whole[:-8] + b"\0" * 8)
    with pytest.raises(ValueError, match="damaged.*CRC"):
        list(census_files.read_rows(path))


def test_find_names_both_files_and_the_folder(tmp_path):
    (tmp_path / "census-income.data").touch()
    message = (
        "'census-income.data' and 'census-income.test'.*"
        rf"{tmp_path.name}.*missing: \['census-income.test'\].*download"
    )
    with pytest.raises(FileNotFoundError, match=message):
        census_files.find(tmp_path)
    with pytest.raises(FileNotFoundError, match="manual_dir=.?None"):
        census_files.find(None)


def test_fingerprint_follows_the_content(manual_dir):
    before = census_files.fingerprint(census_files.find(manual_dir))
    assert before == census_files.fingerprint(census_files.find(manual_dir))
    (manual_dir / "census-income.test").write_text(make_rows(13))
    assert before != census_files.fingerprint(census_files.find(manual_dir))


def test_download_unpacks_the_archive(tmp_path, monkeypatch):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for name in census_files.FILES.values():
            content = make_rows(3).encode()
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
        archive.writestr("census.tar.gz", inner.getvalue())
    url = (tmp_path / "source.zip").as_uri()
    monkeypatch.setattr(census_files, "ARCHIVE_URL", url)

    folder = tmp_path / "manual"
    census_files.download(folder)

    assert sorted(path.name for path in folder.iterdir()) == sorted(
        census_files.FILES.values()
    )
    for path in census_files.find(folder).values():
        assert len(list(census_files.read_rows(path))) == 3


def test_real_rows(real_dir):
    paths = census_files.find(real_dir)
    labels = {
        split: np.array(
            [(r["income"], r["never_married"]) for r in census_files.read_rows(path)]
        )
        for split, path in paths.items()
    }
    assert {split: len(rows) for split, rows in labels.items()} == {
        "train": 60_000,
        "test": 20_000,
    }
    for rows in labels.values():
        income, never_married = rows.mean(axis=0)
        assert 0.055 < income < 0.07
        assert 0.42 < never_married < 0.45
        # The papers report 0.1768 on 10,000 rows of the full data.
        assert 0.165 < abs(np.corrcoef(rows.T)[0, 1]) < 0.185
