"""What `tf-mtl serve` does with signals, around a server that does nothing."""

import gc
import os
import signal
import threading

import pytest

from tf_mtl import cli, serving


class Served:
    """Stands for the server; sends the process what a test wants when it runs."""

    port = rest_port = 1

    def __init__(self, config):
        self.hangup = None

    def __enter__(self):
        running.append(self)
        for number in sent:
            os.kill(os.getpid(), number)
        return self

    def __exit__(self, *args):
        self.hangup = signal.getsignal(signal.SIGHUP)

    def reload(self):
        loading.set()
        go_on.wait(30)
        loaded.set()


running, sent = [], []
loading, go_on, loaded = threading.Event(), threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def served(monkeypatch):
    monkeypatch.setattr(serving, "Server", Served)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    running.clear()
    for event in (loading, go_on, loaded):
        event.clear()
    yield
    go_on.set()


def test_end_does_not_wait_for_a_reload():
    sent[:] = [signal.SIGHUP]

    def stop():
        assert loading.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert cli.main(["serve", "--model_config_file=models.config"]) == 0
    thread.join()
    # The reload is under way still.
    assert not loaded.is_set()


def test_terminal_that_is_closed_ends_a_server_that_has_nothing_to_reload():
    before = signal.getsignal(signal.SIGHUP)
    sent[:] = [signal.SIGTERM]
    assert cli.main(["serve", "--model_base_path=models"]) == 0
    assert running[0].hangup == before
    assert cli.main(["serve", "--model_config_file=models.config"]) == 0
    assert running[1].hangup != before
    assert signal.getsignal(signal.SIGHUP) == before
