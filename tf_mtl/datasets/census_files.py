"""The official files of Census-Income (KDD): names, reading, fetching."""

import gzip
import hashlib
import math
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras

FILES = {"train": "census-income.data", "test": "census-income.test"}
ARCHIVE_URL = "https://archive.ics.uci.edu/static/public/117/census+income+kdd.zip"

# In the order of the file.
COLUMNS = (
    "age",
    "class_worker",
    "det_ind_code",
    "det_occ_code",
    "education",
    "wage_per_hour",
    "hs_college",
    "marital_stat",
    "major_ind_code",
    "major_occ_code",
    "race",
    "hisp_origin",
    "sex",
    "union_member",
    "unemp_reason",
    "full_or_part_emp",
    "capital_gains",
    "capital_losses",
    "stock_dividends",
    "tax_filer_stat",
    "region_prev_res",
    "state_prev_res",
    "det_hh_fam_stat",
    "det_hh_summ",
    "instance_weight",
    "mig_chg_msa",
    "mig_chg_reg",
    "mig_move_reg",
    "mig_same",
    "mig_prev_sunbelt",
    "num_emp",
    "fam_under_18",
    "country_father",
    "country_mother",
    "country_self",
    "citizenship",
    "own_or_self",
    "vet_question",
    "vet_benefits",
    "weeks_worked",
    "year",
    "income_50k",
)
NUMERIC = (
    "age",
    "wage_per_hour",
    "capital_gains",
    "capital_losses",
    "stock_dividends",
    "num_emp",
    "weeks_worked",
)
WEIGHT = "instance_weight"
# The raw columns of the labels, and the label of each value without spaces and period.
_LABEL_VALUES = {
    "income": ("income_50k", {"-50000": 0.0, "50000+": 1.0}),
    "never_married": (
        "marital_stat",
        {
            "Nevermarried": 1.0,
            "Married-civilianspousepresent": 0.0,
            "Married-spouseabsent": 0.0,
            "Married-AFspousepresent": 0.0,
            "Separated": 0.0,
            "Divorced": 0.0,
            "Widowed": 0.0,
        },
    ),
}
LABELS = tuple(_LABEL_VALUES)
_LABEL_COLUMNS = tuple(column for column, _ in _LABEL_VALUES.values())
# Integer codes are categories too, so everything else is a string.
CATEGORICAL = tuple(
    name for name in COLUMNS if name not in (*NUMERIC, WEIGHT, *_LABEL_COLUMNS)
)

# What a cut or overwritten file raises, by where the damage sits.
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError)


def find(manual_dir: str | os.PathLike[str] | None) -> dict[str, Path]:
    """Finds the file of each split.

    Args:
        manual_dir: folder with the official files, plain or with `.gz`. Where both
            exist the plain file is taken. `None` is a folder without files.

    Returns:
        dict of paths by split.

    Raises:
        FileNotFoundError: if a file is missing; names both files and the folder.
    """
    found: dict[str, Path] = {}
    if manual_dir is not None:
        folder = Path(manual_dir).expanduser()
        for split, name in FILES.items():
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    found.setdefault(split, path)
    missing = [name for split, name in FILES.items() if split not in found]
    if missing:
        raise FileNotFoundError(
            "`manual_dir` must hold 'census-income.data' and 'census-income.test', "
            f"each plain or with '.gz'. Received: manual_dir={str(manual_dir)!r}, "
            f"missing: {missing}. Call `census_income.download(manual_dir)`, or unpack "
            f"{ARCHIVE_URL} there."
        )
    return found


def fingerprint(paths: Mapping[str, Path]) -> str:
    """A short name of what the files contain.

    Args:
        paths: dict of paths by split.

    Returns:
        16 hexadecimal digits. Other bytes or other splits give other digits.
    """
    digest = hashlib.sha256()
    for split in sorted(paths):
        with paths[split].open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{split} {content}\n".encode())
    return digest.hexdigest()[:16]


def read_rows(path: str | os.PathLike[str]) -> Iterator[dict[str, str | float]]:
    """Reads one official file.

    Args:
        path: the file, gzip-compressed if its name ends in `.gz`.

    Yields:
        One dict per row: `CATEGORICAL` as strings without surrounding spaces (`?` and
        `NA` are categories like any other), `NUMERIC` and `WEIGHT` as floats, `LABELS`
        as 0.0 or 1.0.

    Raises:
        ValueError: if the file is damaged, a row does not have 42 columns, or a value
            is not known; names the file and the record, counted from 1.
    """
    for record, line in _read_lines(Path(path)):
        try:
            row = _parse(line)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)!r}, record {record}: {error}") from None
        yield row


def download(manual_dir: str | os.PathLike[str]) -> None:
    """Fetches the official files into a folder; the only function that does.

    Args:
        manual_dir: folder for the two files; made if it does not exist. Files that
            are already there are replaced.
    """
    folder = Path(manual_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        archive = keras.utils.get_file(
            "census.zip", ARCHIVE_URL, cache_dir=temporary, cache_subdir=""
        )
        with (
            zipfile.ZipFile(archive) as outer,
            outer.open("census.tar.gz") as packed,
            tarfile.open(fileobj=packed, mode="r:gz") as inner,
        ):
            for name in FILES.values():
                _unpack(inner, name, Path(temporary))
        for name in FILES.values():
            (Path(temporary) / name).replace(folder / name)


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    record = 1
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                yield record, line.decode("utf-8")
                record += 1
    except _DAMAGE as error:
        raise ValueError(
            f"{os.fspath(path)!r} is damaged or cut off at record {record}. Fetch "
            f"the file again. Cause: {error}"
        ) from error


def _parse(line: str) -> dict[str, str | float]:
    values = [value.strip() for value in line.split(",")]
    if len(values) != len(COLUMNS):
        raise ValueError(
            f"A row must have {len(COLUMNS)} columns. Received: {len(values)}."
        )
    raw = dict(zip(COLUMNS, values, strict=True))
    row: dict[str, str | float] = {name: raw[name] for name in CATEGORICAL}
    for name in (*NUMERIC, WEIGHT):
        row[name] = _number(name, raw[name])
    for label, (column, known) in _LABEL_VALUES.items():
        key = raw[column].replace(" ", "").rstrip(".")
        if key not in known:
            raise ValueError(
                f"Column {column!r} must be one of {sorted(known)} (spaces and a final "
                f"period aside). Received: {raw[column]!r}."
            )
        row[label] = known[key]
    return row


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"Column {name!r} must be a number. Received: {text!r}.")
    return value


def _unpack(archive: tarfile.TarFile, name: str, folder: Path) -> None:
    # Names in the archive may start with "./".
    for member in archive.getmembers():
        source = archive.extractfile(member) if Path(member.name).name == name else None
        if source is not None:
            with source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
            return
    raise ValueError(
        f"The archive must hold {name!r}. Received: {archive.getnames()} from "
        f"{ARCHIVE_URL}."
    )
