"""Version folders and policies."""

import pytest

from tf_mtl.files import version_folders
from tf_mtl.serving import versions


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (versions.Policy(), [10]),
        (versions.Policy(latest={}), [10]),
        (versions.Policy(latest={"num_versions": 2}), [3, 10]),
        (versions.Policy(all={}), [2, 3, 10]),
        (versions.Policy(specific={"versions": [10, 2, 7]}), [2, 10]),
    ],
)
def test_policy_selects_versions(policy, expected):
    assert versions.wanted(policy, [3, 10, 2]) == expected
    assert versions.wanted(policy, []) == []


def test_only_numbered_folders_are_versions(tmp_path):
    for name in ("1", "12", ".tmp-3", "x4", "5.bak"):
        (tmp_path / name).mkdir()
    (tmp_path / "6").touch()
    assert version_folders(tmp_path) == {1: tmp_path / "1", 12: tmp_path / "12"}
    assert version_folders(tmp_path / "absent") == {}


def test_numbers_beyond_int64_are_no_versions(tmp_path, caplog):
    for number in (2**63 - 1, 2**63, 10**30):
        (tmp_path / str(number)).mkdir()
    for _ in range(2):
        assert list(version_folders(tmp_path)) == [2**63 - 1]
    assert sorted(record.args[0].name for record in caplog.records) == [
        str(10**30),
        str(2**63),
    ]
