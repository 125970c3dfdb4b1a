"""What `tfx.train` checks before it reads a row."""

import types

import pytest

from tf_mtl import Task
from tf_mtl.integrations import tfx

TASKS = [Task("click"), Task("like")]


@pytest.mark.parametrize("source", ["custom_config", "hyperparameters"])
def test_value_of_an_unknown_name_is_an_error(source):
    wrong = {"learning_rte": 0.1}
    values = {"custom_config": {}, "hyperparameters": None}
    values[source] = wrong if source == "custom_config" else {"values": wrong}
    fn_args = types.SimpleNamespace(**values)
    with pytest.raises(ValueError, match="Did you mean 'learning_rate'"):
        tfx.train(fn_args, lambda *_: [], TASKS, [])
