import pathlib

import pytest

from pipelines import fingerprints


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A package `pipelines` whose `main` imports `used`."""
    package = tmp_path / "pipelines"
    package.mkdir()
    files = {
        "__init__": "",
        "main": "def f():\n    from pipelines import used\n",
        "used": "import pipelines.deep\n",
        "deep": "x = 1\n",
        "other": "x = 1\n",
    }
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)

    def find(name):
        path = package.joinpath(*name.split(".")[1:]).with_suffix(".py")
        return path if path.is_file() else None

    monkeypatch.setattr(fingerprints, "_find", find)
    fingerprints._imported.cache_clear()
    yield package
    fingerprints._imported.cache_clear()


@pytest.mark.parametrize("name", ["main", "used", "deep"])
def test_code_is_followed_through_its_imports(code, name):
    before = fingerprints.of_code(code / "main.py")
    (code / f"{name}.py").write_text((code / f"{name}.py").read_text() + "# more\n")
    assert fingerprints.of_code(code / "main.py") != before


def test_code_that_is_not_imported_does_not_count(code):
    before = fingerprints.of_code(code / "main.py")
    (code / "other.py").write_text("x = 2\n")
    assert fingerprints.of_code(code / "main.py") == before


def test_modules_are_found_without_importing_them():
    assert fingerprints._find("tf_mtl.files").name == "files.py"
    assert fingerprints._find("tf_mtl.models").name == "__init__.py"
    assert fingerprints._find("tf_mtl.models.MMoE") is None
    assert fingerprints._find("json") is None


def test_order_of_keys_does_not_count():
    assert fingerprints.of_value({"a": 1, "b": 2}) == fingerprints.of_value(
        {"b": 2, "a": 1}
    )
    assert fingerprints.of_value({"a": 1}) != fingerprints.of_value({"a": 2})


def test_folder_counts_names_and_bytes(tmp_path):
    found = set()
    for name, text in [("a", "x"), ("a", "y"), ("b", "y")]:
        folder = pathlib.Path(tmp_path / f"{name}{text}" / "sub")
        folder.mkdir(parents=True)
        (folder / name).write_text(text)
        found.add(fingerprints.of_folder(folder.parent))
    assert len(found) == 3


def test_pattern_without_a_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        fingerprints.of_files([str(tmp_path / "nothing-here*")])


def test_versions_of_what_reads_and_describes_rows_count():
    versions = fingerprints._versions()
    for library in ("tfx-bsl", "tensorflow-metadata", "tensorflow-transform"):
        assert versions[library] != "not installed"
