"""Census-Income files: made-up ones, and the real ones if present."""

import gzip
import os
from pathlib import Path

import pytest

from .census_rows import make_rows

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def manual_dir(tmp_path):
    """30 training rows (gzip) and 12 test rows (plain)."""
    folder = tmp_path / "manual"
    folder.mkdir()
    with gzip.open(folder / "census-income.data.gz", "wt") as file:
        file.write(make_rows(30))
    (folder / "census-income.test").write_text(make_rows(12, first_age=60))
    return folder


@pytest.fixture(scope="session")
def real_dir():
    shared = Path(os.environ.get("TF_MTL_SHARED", REPOSITORY.parent / "shared"))
    folder = shared / "data" / "census_income"
    if not folder.is_dir():
        pytest.skip(f"no real rows: {folder} is missing; set TF_MTL_SHARED")
    return folder
