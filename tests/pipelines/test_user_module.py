import importlib
import sys

from pipelines.data import user_module


def test_module_does_not_stand_in_for_one_of_python(tmp_path):
    path = tmp_path / "json.py"
    path.write_text("def run_fn(fn_args):\n    return 'ran'\n")
    module = user_module.load(str(path))
    assert user_module.function(module, "run_fn")(None) == "ran"
    # Classes of the module are looked up by its name.
    assert sys.modules[module.__name__] is module
    assert importlib.import_module("json").dumps([1]) == "[1]"
