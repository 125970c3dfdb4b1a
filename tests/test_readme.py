"""Every snippet of the README runs, and every command in it exists."""

import pathlib
import re
import subprocess

import pytest

from tests.datasets.census_rows import make_rows
from tf_mtl import cli

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def snippets(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_snippets_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    teaser, *code = snippets("python")
    assert teaser.strip() == 'model.compile(optimizer, aggregator="gradcraft")'
    exec(compile("\n".join(code), "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert "val_like_auc" in printed
    assert "(64,)" in printed
    assert (tmp_path / "exported" / "feed" / "1" / "saved_model.pb").exists()


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(path):
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_python_snippets_of_the_methods_page_run():
    code = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(), re.DOTALL
    )
    assert code
    exec(compile("\n".join(code), "methods.md", "exec"), {"__name__": "methods"})


@pytest.mark.parametrize("snippet", [s for s in snippets("sh") if "make " in s])
def test_make_targets_exist(snippet):
    for line in snippet.strip().splitlines():
        subprocess.run([*line.split(), "-n"], cwd=ROOT, check=True, capture_output=True)


def test_commands_run(tmp_path, monkeypatch, capsys):
    census = tmp_path / "census"
    census.mkdir()
    (census / "census-income.data").write_text(make_rows(300))
    (census / "census-income.test").write_text(make_rows(60, first_age=60))
    monkeypatch.chdir(tmp_path)
    (block,) = [s for s in snippets("sh") if "tf-mtl" in s]
    for line in block.strip().splitlines():
        program, *arguments = line.split()
        assert program == "tf-mtl"
        assert cli.main([*arguments, f"--data_dir={tmp_path / 'prepared'}"]) == 0
    assert (tmp_path / "runs" / "census" / "metrics.json").exists()
    assert (tmp_path / "runs" / "census" / "saved_model" / "1").is_dir()
    assert "never_married" in capsys.readouterr().out
