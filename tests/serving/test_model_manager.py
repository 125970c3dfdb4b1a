"""How models are exchanged and polled, with models that do nothing."""

import threading
import time

import grpc
import pytest
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.serving import versions
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.model_manager import ModelManager


class Loaded:
    """Stands for a servable."""

    def __init__(self, folder, name, number):
        if (folder / "broken").exists():
            raise ValueError("broken file")
        self.folder = folder
        self.number = number
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def base(tmp_path):
    for name in ("a/1", "a/2", "b/1", "c/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "c/1/broken").touch()
    return tmp_path


def config_of(base, **models):
    """A configuration of name to folder, or to fields with a folder."""
    config = model_server_config_pb2.ModelServerConfig()
    for name, given in models.items():
        fields = given if isinstance(given, dict) else {"folder": given}
        path = str(base / fields["folder"])
        rest = {key: value for key, value in fields.items() if key != "folder"}
        config.model_config_list.config.add(name=name, base_path=path, **rest)
    return config


def specific(*numbers):
    return versions.Policy(specific={"versions": numbers})


@pytest.fixture
def start():
    """Function of a configuration to a running manager."""
    managers = []

    def make(config, poll_seconds=60.0, load=Loaded):
        managers.append(ModelManager(config, poll_seconds, load))
        managers[-1].start()
        return managers[-1]

    yield make
    for manager in managers:
        manager.stop(5.0)


def used(manager, name, **spec):
    with manager.use(model_pb2.ModelSpec(name=name, **spec)) as servable:
        assert not servable.closed
        return servable


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def assert_refused(manager, config, message):
    with pytest.raises(RequestError, match=message) as caught:
        manager.reload(config)
    assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION


def test_broken_model_does_not_replace_a_good_one(base, start):
    manager = start(config_of(base, m="a"))
    old = used(manager, "m")
    assert_refused(manager, config_of(base, m="c"), "version 1 of 'm': broken file")
    assert used(manager, "m") is old


def test_nothing_changes_if_one_of_the_models_is_broken(base, start):
    loaded = []

    def load(*args):
        loaded.append(Loaded(*args))
        return loaded[-1]

    manager = start(config_of(base, m="a"), load=load)
    assert_refused(manager, config_of(base, m="b", n="c"), "'n'")
    assert used(manager, "m") is loaded[0]
    assert manager.available() == {"m": [2]}
    assert [each.closed for each in loaded] == [False, True]
    # The same folder, another version.
    fields = {"folder": "a", "model_version_policy": specific(1)}
    assert_refused(manager, config_of(base, m=fields, n="c"), "'n'")
    assert used(manager, "m").number == 2
    assert [each.closed for each in loaded] == [False, True, True]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_version_policy": specific(1, 2)}, "version 2 of 'm': broken file"),
        ({"model_version_policy": specific(1, 7)}, "version 7 of 'm': not found"),
        (
            {
                "model_version_policy": versions.Policy(all={}),
                "version_labels": {"stable": 2},
            },
            "version 2 of 'm': broken file",
        ),
    ],
)
def test_versions_that_are_named_must_be_available(base, start, fields, message):
    (base / "a/2/broken").touch()
    labelled = {
        "folder": "a",
        "model_version_policy": specific(1),
        "version_labels": {"stable": 1},
    }
    manager = start(config_of(base, m=labelled))
    assert_refused(manager, config_of(base, m={"folder": "a"} | fields), message)
    # Labels have not moved.
    assert used(manager, "m", version_label="stable").number == 1
    assert manager.available() == {"m": [1]}


def test_labels_move_when_the_version_is_loaded(base, start):
    loading = threading.Event()
    go_on = threading.Event()

    def load(folder, name, number):
        if number == 2:
            loading.set()
            assert go_on.wait(30)
        return Loaded(folder, name, number)

    def fields(number):
        return {
            "folder": "a",
            "model_version_policy": specific(number),
            "version_labels": {"stable": number},
        }

    manager = start(config_of(base, m=fields(1)), load=load)
    new = config_of(base, m=fields(2))
    reload = threading.Thread(target=manager.reload, args=(new,))
    reload.start()
    assert loading.wait(30)
    first = used(manager, "m", version_label="stable")
    assert first.number == 1
    # Meanwhile there is no place for a second one.
    with pytest.raises(RequestError, match="Another reload") as caught:
        manager.reload(new)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    go_on.set()
    reload.join()
    assert used(manager, "m", version_label="stable").number == 2
    assert first.closed


def test_model_that_is_left_out_is_closed_after_its_last_request(base, start):
    manager = start(config_of(base, m="a", n="b"), poll_seconds=0.01)
    with manager.use(model_pb2.ModelSpec(name="n")) as old:
        manager.reload(config_of(base, m="a"))
        assert not old.closed
    wait_until(lambda: old.closed)
    with pytest.raises(RequestError, match=r"Latest\(n\)"):
        used(manager, "n")


def test_request_that_meets_a_reload_is_answered(base, start):
    manager = start(config_of(base, m="a"))
    find = manager._model

    def slow(spec):
        model = find(spec)
        if not reloaded:
            reloaded.append(True)
            manager.reload(config_of(base, m="b"))
        return model

    reloaded = []
    manager._model = slow
    assert used(manager, "m").folder == base / "b/1"


def test_model_that_cannot_be_polled_does_not_stop_the_others(base, start):
    manager = start(config_of(base, m="a", n="b"), poll_seconds=0.01)

    def fail():
        polled.append(True)
        raise NotADirectoryError(20, "a file")

    polled = []
    manager._models["m"].refresh = fail
    (base / "b/5").mkdir()
    wait_until(lambda: manager.available()["n"] == [5])
    count = len(polled)
    wait_until(lambda: len(polled) > count + 2)


def test_old_version_in_use_does_not_hold_up_the_others(base, start):
    manager = start(config_of(base, m="a", n="b"), poll_seconds=0.01)
    with manager.use(model_pb2.ModelSpec(name="m")) as old:
        (base / "a/3").mkdir()
        wait_until(lambda: manager.available()["m"] == [3])
        (base / "b/5").mkdir()
        wait_until(lambda: manager.available()["n"] == [5])
        manager.reload(config_of(base, m="a", n="b"))
        assert not old.closed
    wait_until(lambda: old.closed)


def test_model_without_a_version_is_told_at_the_start(base, start):
    config = config_of(base, m="a")
    (base / "a/1").rmdir()
    (base / "a/2/broken").touch()
    with pytest.raises(ValueError, match="'m': broken file"):
        start(config)


def test_stop_leaves_alone_what_a_reload_loads(base, start):
    loading = threading.Event()
    go_on = threading.Event()

    def load(folder, name, number):
        if number == 3:
            loading.set()
            assert go_on.wait(30)
        return Loaded(folder, name, number)

    # No look at the folders is due: only the reload is under way.
    manager = start(config_of(base, m="a"), poll_seconds=60.0, load=load)
    (base / "a/3").mkdir()
    reload = threading.Thread(target=manager.reload, args=(config_of(base, m="a"),))
    reload.start()
    assert loading.wait(30)
    with manager.use(model_pb2.ModelSpec(name="m")) as old:
        manager.stop(0.1)
        assert not old.closed
        go_on.set()
        reload.join()
        assert manager.available() == {"m": [3]}
    new = used(manager, "m")
    manager.stop(5.0)
    assert old.closed and new.closed
    with pytest.raises(RequestError, match="no more reloads") as caught:
        manager.reload(config_of(base, m="a"))
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
