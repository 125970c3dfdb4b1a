"""Exported train steps, and the script that runs them without TensorFlow."""

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from tf_mtl import cli
from tf_mtl.benchmarks import hlo, run_hlo
from tf_mtl.benchmarks.methods import Method
from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.benchmarks.workload import Workload

TINY = Workload(
    num_tasks=2,
    vocabulary=40,
    batch_size=8,
    sizes=Sizes(
        num_features=2,
        embedding_dim=4,
        num_experts=2,
        expert_units=(4,),
        tower_units=(3,),
    ),
)
CONFIGURATIONS = [
    hlo.Configuration(Method("ew", "parameters"), TINY),
    # Draws an order of the tasks: random numbers must be the same elsewhere.
    hlo.Configuration(Method("pcgrad", "parameters"), TINY),
    hlo.Configuration(Method("gradcraft", "representation"), TINY),
    hlo.Configuration(Method("ew"), TINY, "ple:num_levels=1"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hlo") / "new" / "exported"
    hlo.export(CONFIGURATIONS, str(path), io.StringIO())
    return path


@pytest.fixture(scope="module")
def exported(folder):
    return run_hlo.load(folder / "ew-t2-b8-v40")


def test_folder_holds_the_script_and_complete_configurations(folder):
    names = {configuration.name for configuration in CONFIGURATIONS}
    assert {path.name for path in folder.iterdir()} == names | {"run_hlo.py"}
    for name in names:
        files = {path.name for path in (folder / name).iterdir()}
        assert files == {
            "module.stablehlo",
            "arguments.npz",
            "results.npz",
            "config.json",
        }


def test_export_says_the_sizes_of_the_model(folder):
    row = run_hlo.describe(folder / "ew-t2-b8-v40")
    assert row.network == "2 features x 4, 2 experts 4, towers 3"


def test_existing_folder_is_refused(folder):
    with pytest.raises(FileExistsError, match="`out` must not exist"):
        hlo.export(CONFIGURATIONS, str(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "`out` must be given"),
        (["--out=new", "--methods=ew,nope"], "nope"),
        (["--out=."], "`out` must not exist"),
        (["--out=new", "--methods=gradcraft:nope"], "`surface`"),
        (["--out=new", "--num_features=40000"], "`vocabulary` must be at least 120000"),
    ],
)
def test_errors_of_the_command(options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "hlo", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_arguments_are_the_batch_and_then_variables(exported):
    names = [name for name, _, _ in exported.config["arguments"]]
    assert names[:4] == ["id_0", "id_1", "task_0", "task_1"]
    (ids, _) = TINY.batch()
    np.testing.assert_array_equal(exported.arguments[1], ids["id_1"])
    tables = [n for n in names if n.startswith("mmoe/embedding")]
    assert len(tables) == TINY.sizes.num_features


def test_results_are_logs_and_then_new_values_of_arguments(exported):
    config = exported.config
    names = [name for name, _, _ in config["results"]]
    assert names[:2] == ["loss", "skipped_updates"]
    assert list(config["updates"]) == [str(i) for i in range(4, len(names))]
    for result, argument in config["updates"].items():
        assert config["results"][int(result)] == config["arguments"][argument]


def test_recorded_step_is_one_step_of_training(exported):
    before = {n[0]: a for n, a in _pairs(exported, "arguments")}
    after = {n[0]: a for n, a in _pairs(exported, "results")}
    # Keras numbers the optimizers of a process.
    [iteration] = [name for name in after if name.endswith("/iteration:0")]
    assert before[iteration] == 1
    assert after[iteration] == 2
    assert not [name for name in after if name.endswith("/learning_rate:0")]
    table, looked_up = "mmoe/embedding/id_0:0", before["id_0"]
    changed = np.any(after[table] != before[table], axis=1)
    assert set(np.flatnonzero(changed)) <= set(looked_up)
    assert changed.any()


def test_other_order_of_results_is_noticed():
    text = "HloModule m, input_output_alias={ {2}: (7, {}, may-alias) }, entry"
    assert hlo._updates(text, 2) == {2: 7}
    with pytest.raises(RuntimeError, match="1 outputs"):
        hlo._updates(text, 1)


def test_arrays_of_another_export_are_refused(folder, tmp_path):
    source = folder / "ew-t2-b8-v40"
    for name in ("module.stablehlo", "arguments.npz", "config.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    (tmp_path / "results.npz").write_bytes((source / "arguments.npz").read_bytes())
    with pytest.raises(ValueError, match="`results.npz` does not hold"):
        run_hlo.load(tmp_path)


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.5], [3.0, 4.0], 0.1),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([3.0, np.nan], [3.0, 4.0], np.inf),
        ([3.0], [3.0, 4.0], np.inf),
        ([3, 4], [3.0, 4.0], np.inf),
        ([3, 4], [3, 4], 0.0),
        ([3, 5], [3, 4], np.inf),
        ([True], [False], np.inf),
    ],
)
def test_relative_error(found, expected, error):
    result = run_hlo.relative_error(np.array(found), np.array(expected))
    assert result == pytest.approx(error)


def test_steps_take_turns_and_one_that_fails_is_left_out():
    calls, waits = [], []

    def fails():
        calls.append("b")
        if calls.count("b") > 3:
            raise MemoryError("none left\nand more")

    steps = {"a": lambda: calls.append("a"), "b": fails, "c": lambda: calls.append("c")}
    medians, failures = run_hlo.measure(steps, rounds=2, calls=2, wait=waits.append)
    assert "".join(calls) == "aaabbbcccaaabccc"
    assert set(medians) == {"a", "c"}
    assert failures == {"b": "MemoryError: none left"}
    assert len(waits) == 10


def test_no_round_begins_after_the_deadline():
    medians, failures = run_hlo.measure(
        {"a": lambda: None}, 2, 2, wait=lambda _: None, deadline=time.monotonic() - 1
    )
    assert medians == {} == failures


def test_ratio_is_against_equal_weights_of_the_same_sizes():
    rows = [
        run_hlo.Row("pcgrad", (2, 8, 40), milliseconds=3.0),
        run_hlo.Row("ew", (2, 8, 40), milliseconds=2.0),
        run_hlo.Row("pcgrad", (6, 8, 40), milliseconds=5.0),
        run_hlo.Row("gradcraft", (2, 8, 40), failure="no memory"),
    ]
    run_hlo.add_ratios(rows)
    assert [row.ratio for row in rows] == [1.5, 1.0, None, None]


def test_table_says_what_is_wrong_or_failed():
    rows = [
        run_hlo.Row("ew", (2, 8, 40), 1e-7, "loss", True, 1.0, 2.0, 1.0),
        run_hlo.Row("pcgrad", (2, 8, 40), 0.5, "loss", False, 1.0, 4.0, 2.0),
        run_hlo.Row("gradcraft", (2, 8, 40), failure="MemoryError: none left"),
    ]
    _, right, wrong, failed = run_hlo.table(rows).splitlines()
    assert right.split() == ["2", "8", "40", "ew", "2.000", "x1.00", "1.0e-07"]
    assert "x2.00" in wrong and wrong.endswith("WRONG: loss")
    assert "gradcraft" in failed and failed.endswith("MemoryError: none left")


def test_folder_without_exports_is_an_error(tmp_path, capsys):
    assert run_hlo.main([str(tmp_path)]) == 1
    assert "No exported steps" in capsys.readouterr().err


@pytest.fixture
def needs_jaxlib():
    if importlib.util.find_spec("jaxlib") is None:
        pytest.skip("no jaxlib: it is in the extra `dev`")


def run_script(folder, *arguments, forbidden=("jax", "tensorflow", "tf_mtl")):
    """Runs the script of a folder in a Python without some packages."""
    # Modules beside the script come before those that are installed.
    for name in forbidden:
        (folder / f"{name}.py").write_text(f"raise ImportError('no {name}')")
    try:
        return subprocess.run(
            [sys.executable, folder / "run_hlo.py", folder, *arguments],
            capture_output=True,
            text=True,
        )
    finally:
        for name in forbidden:
            (folder / f"{name}.py").unlink()


def test_without_jaxlib_the_script_says_so(folder):
    done = run_script(folder, "--platform=cpu", forbidden=["jaxlib"])
    assert done.returncode == 1
    assert "needs jaxlib" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("needs_jaxlib")
def test_without_its_plugin_a_gpu_is_refused(folder):
    done = run_script(folder, "--platform=cuda", forbidden=["jax_plugins"])
    assert done.returncode == 1
    assert "jax-cuda12-plugin" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("needs_jaxlib")
def test_jaxlib_alone_gives_the_results_of_tensorflow(folder, tmp_path):
    output = tmp_path / "times.json"
    # The XLA of jaxlib is another version than that in TensorFlow; float32 sums differ.
    options = ("--rounds=1", "--calls=1", "--tolerance=1e-4", f"--output={output}")
    done = run_script(folder, "--platform=cpu", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(output.read_text())["rows"]
    methods = {
        "ew",
        "pcgrad, parameters",
        "gradcraft, representation",
        "ple:num_levels=1, ew",
    }
    assert {row["method"] for row in rows} == methods
    assert all(row["milliseconds"] > 0 and row["ratio"] > 0 for row in rows)
    network = "2 features x 4, 2 experts 4, towers 3"
    assert {row["network"] for row in rows} == {network}
    assert f"Model: {network}" in done.stdout


@pytest.mark.usefixtures("needs_jaxlib")
def test_wrong_result_and_broken_module_end_with_code_1(folder, tmp_path):
    for name in ("ew-t2-b8-v40", "pcgrad-parameters-t2-b8-v40"):
        shutil.copytree(folder / name, tmp_path / name)
    shutil.copy(folder / "run_hlo.py", tmp_path)
    with np.load(tmp_path / "ew-t2-b8-v40" / "results.npz") as file:
        arrays = dict(file)
    arrays["0"] = arrays["0"] * np.inf
    np.savez(tmp_path / "ew-t2-b8-v40" / "results.npz", **arrays)
    (tmp_path / "pcgrad-parameters-t2-b8-v40" / "module.stablehlo").write_bytes(b"?")
    output = tmp_path / "times.json"
    options = ("--rounds=1", "--calls=1", f"--output={output}")
    done = run_script(tmp_path, "--platform=cpu", *options)
    assert done.returncode == 1
    record = json.loads(output.read_text())["rows"][0]
    assert (record["error"], record["is_right"]) == (None, False)
    wrong, failed = done.stdout.splitlines()[-2:]
    assert "WRONG: loss" in wrong and "x1.00" in wrong
    assert "pcgrad" in failed and "Error" in failed


def _pairs(exported, name):
    return zip(exported.config[name], getattr(exported, name), strict=True)
