"""The load test: what it asks before it measures."""

from tf_mtl.loadtest import clients, generator, runner
from tf_mtl.loadtest.config import LoadConfig
from tf_mtl.loadtest.generator import Load


def test_warmup_keeps_the_rate(monkeypatch):
    rates = []

    def run(call, concurrency, duration=0.0, count=0, rate=0.0):
        rates.append(rate)
        return Load(1.0, [0.001], {"OK": 1})

    monkeypatch.setattr(clients, "make_inputs", lambda config: None)
    monkeypatch.setattr(clients, "grpc_call", lambda config, inputs: None)
    monkeypatch.setattr(generator, "run", run)
    runner.run(LoadConfig(model_name="feed", rate=7.0))
    assert rates == [7.0, 7.0]
