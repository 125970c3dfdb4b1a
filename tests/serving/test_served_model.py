"""How versions are exchanged, with models that do nothing."""

import shutil
import threading

import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.serving import served_model, versions
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.served_model import ServedModel

State = get_model_status_pb2.ModelVersionStatus.State
LATEST = model_pb2.ModelSpec(name="m")


class Loaded:
    """Stands for a servable."""

    def __init__(self, folder, name, number):
        if (folder / "broken").exists():
            raise ValueError("broken file")
        self.number = number
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "1").mkdir()
    return tmp_path


def make(folder, **fields):
    config = model_server_config_pb2.ModelConfig(
        name="m", base_path=str(folder), **fields
    )
    model = ServedModel(config, Loaded)
    model.refresh()
    return model


def states(model):
    return {s.version: State.Name(s.state) for s in model.statuses(LATEST)}


def used(model, spec=LATEST):
    with model.use(spec) as servable:
        return servable.number


def test_newest_version_replaces_the_old_one(folder):
    model = make(folder)
    with model.use(LATEST) as first:
        assert first.number == 1
    (folder / "2").mkdir()
    model.refresh()
    assert used(model) == 2
    assert first.closed
    assert states(model) == {2: "AVAILABLE"}


def test_removed_version_is_rolled_back(folder):
    (folder / "2").mkdir()
    model = make(folder)
    assert used(model) == 2
    (folder / "2").rmdir()
    model.refresh()
    assert used(model) == 1


def test_old_version_stays_open_for_its_requests(folder):
    model = make(folder)
    (folder / "2").mkdir()
    with model.use(LATEST) as old:
        # It does not wait for the request.
        model.refresh()
        assert used(model) == 2
        model.refresh()
        assert not old.closed
        assert states(model)[1] == "UNLOADING"
        with pytest.raises(RequestError, match=r"Specific\(m, 1\)"):
            used(model, model_pb2.ModelSpec(version={"value": 1}))
    model.refresh()
    assert old.closed
    assert states(model) == {2: "AVAILABLE"}


def test_version_that_is_rolled_back_to_is_not_loaded_again(folder):
    model = make(folder)
    (folder / "2").mkdir()
    with model.use(LATEST) as old:
        model.refresh()
        (folder / "2").rmdir()
        model.refresh()
        with model.use(LATEST) as found:
            assert found is old
    model.refresh()
    assert not old.closed


def test_close_waits_no_longer_than_it_may(folder):
    model = make(folder)
    with model.use(LATEST) as servable:
        assert not model.close(0.01)
        assert not servable.closed
    assert model.close(0.01)
    assert servable.closed


def test_last_version_stays_when_the_folder_is_gone(folder):
    model = make(folder)
    shutil.rmtree(folder)
    model.refresh()
    assert used(model) == 1


def test_broken_version_does_not_replace_a_good_one(folder):
    model = make(folder)
    (folder / "2").mkdir()
    (folder / "2" / "broken").touch()
    model.refresh()
    assert used(model) == 1
    newest, oldest = model.statuses(LATEST)
    assert (newest.version, newest.state) == (2, State.END)
    assert newest.status.error_message == "broken file"
    assert (oldest.version, oldest.state) == (1, State.AVAILABLE)
    # Repaired in place, as by a copy that comes to its end.
    (folder / "2" / "broken").unlink()
    model.refresh()
    assert used(model) == 2
    assert states(model) == {2: "AVAILABLE"}


def test_error_without_a_text_is_an_error(folder):
    model = make(folder)
    (folder / "2").mkdir()

    def load(*args):
        loads.append(args)
        raise MemoryError

    loads = []
    model._load = load
    model.refresh()
    model.refresh()
    assert len(loads) == 1
    assert states(model) == {2: "END", 1: "AVAILABLE"}
    newest, _ = model.statuses(LATEST)
    assert newest.status.error_message == "MemoryError()"
    assert used(model) == 1


def test_folder_that_cannot_be_read_changes_nothing(folder, monkeypatch):
    model = make(folder)
    (folder / "2").mkdir()

    def fail(folder):
        raise PermissionError(13, "not allowed")

    monkeypatch.setattr(served_model, "_identity", fail)
    model.refresh()
    assert used(model) == 1
    monkeypatch.undo()
    model.refresh()
    assert used(model) == 2


def test_broken_version_is_loaded_once(folder):
    (folder / "1" / "broken").touch()
    loads = []

    def load(path, *args):
        loads.append(path)
        return Loaded(path, *args)

    config = model_server_config_pb2.ModelConfig(name="m", base_path=str(folder))
    model = ServedModel(config, load)
    model.refresh()
    model.refresh()
    assert len(loads) == 1
    with pytest.raises(RequestError, match=r"Latest\(m\)"):
        used(model)
    shutil.rmtree(folder / "1")
    model.refresh()
    assert states(model) == {}


def test_labels_name_versions(folder):
    (folder / "2").mkdir()
    policy = versions.Policy(all={})
    labels = {"stable": 1, "canary": 2}
    model = make(folder, model_version_policy=policy, version_labels=labels)
    assert used(model, model_pb2.ModelSpec(version_label="stable")) == 1
    assert used(model) == 2
    (status,) = model.statuses(model_pb2.ModelSpec(version_label="canary"))
    assert status.version == 2
    with pytest.raises(RequestError, match=r"label: blue. There are"):
        used(model, model_pb2.ModelSpec(version_label="blue"))


def test_specific_versions_are_served(folder):
    for number in ("2", "3"):
        (folder / number).mkdir()
    policy = versions.Policy(specific={"versions": [1, 2]})
    model = make(folder, model_version_policy=policy)
    assert states(model) == {1: "AVAILABLE", 2: "AVAILABLE"}
    assert used(model) == 2


def test_requests_never_fail_while_versions_change(folder):
    model = make(folder)
    stop = threading.Event()
    failures = []

    def client():
        while not stop.is_set():
            try:
                with model.use(LATEST) as servable:
                    assert not servable.closed
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    for number in range(2, 60):
        (folder / str(number)).mkdir()
        model.refresh()
        (folder / str(number - 1)).rmdir()
    stop.set()
    for thread in clients:
        thread.join()
    assert failures == []
    assert used(model) == 59
