"""The load generator: what it counts."""

import threading
import time

import pytest

from tf_mtl.loadtest import generator, report
from tf_mtl.loadtest.generator import Load


def test_count_is_kept_by_all_clients_together():
    calls = []
    load = generator.run(lambda client: calls.append(client) or "OK", 3, count=10)
    assert len(calls) == len(load.latencies) == 10
    assert load.codes == {"OK": 10}


def test_clients_call_at_the_same_time_for_the_duration():
    meeting = threading.Barrier(4)

    def call(client):
        meeting.wait(10)
        time.sleep(0.01)
        return "OK"

    load = generator.run(call, 4, duration=0.1)
    assert 0.1 <= load.seconds < 1
    assert all(seconds >= 0.01 for seconds in load.latencies)


def test_failed_requests_are_counted_and_not_timed():
    codes = iter(["OK", "UNAVAILABLE", "OK"])
    load = generator.run(lambda client: next(codes), 1, count=3)
    assert load.codes == {"OK": 2, "UNAVAILABLE": 1}
    assert len(load.latencies) == 2


def test_error_of_a_client_ends_the_load():
    def call(client):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        generator.run(call, 2, duration=30)


def test_summary_and_ratios():
    server = Load(2.0, [0.002, 0.003, 0.004], {"OK": 3})
    local = Load(1.0, [0.001, 0.001, 0.002], {"OK": 3})
    found = report.summary(server, batch_size=10)
    assert found["requests_per_second"] == 1.5
    assert found["rows_per_second"] == 15
    assert found["milliseconds"]["p50"] == 3.0
    loads = {"grpc": server, "in_process": local}
    assert report.ratios(loads, 0.0)["p50"] == 3.0
    assert report.ratios(loads, 0.0)["throughput"] == 0.5
    assert "p50 x3.0, p99 x" in report.text(loads, 10, 0.0)
    # At a rate, throughput is what was asked for.
    assert set(report.ratios(loads, 5.0)) == {"p50", "p99"}
    assert "throughput" not in report.text(loads, 10, 5.0)


def test_load_without_an_answer_is_told():
    load = Load(1.0, [], {"UNAVAILABLE": 3})
    assert report.summary(load, 1)["milliseconds"] == {}
    assert "'UNAVAILABLE': 3" in report.text({"grpc": load}, 1, 0.0)


def test_ratios_need_answers_of_both():
    none = Load(1.0, [], {"UNAVAILABLE": 3})
    some = Load(1.0, [0.001], {"OK": 1})
    for loads in (
        {"grpc": none, "in_process": some},
        {"grpc": some, "in_process": none},
    ):
        assert report.ratios(loads, 0.0) == {}
        assert "over in-process" not in report.text(loads, 1, 0.0)


def test_requests_are_due_at_fixed_times():
    starts = []

    def call(client):
        starts.append(time.perf_counter())
        return "OK"

    begin = time.perf_counter()
    load = generator.run(call, 2, duration=0.5, rate=40.0)
    assert len(starts) == len(load.latencies) == 20
    # Two clients may note their calls in the other order.
    for number, start in enumerate(sorted(starts)):
        assert start >= begin + number / 40.0


def test_time_that_a_request_waits_for_a_client_counts():
    def call(client):
        time.sleep(0.05)
        return "OK"

    # Due every 10 ms, answered every 50: the last of ten waits for 9 * 40 ms.
    load = generator.run(call, 1, count=10, rate=100.0)
    assert load.latencies[-1] >= 0.05 + 9 * 0.04 - 0.001
    assert load.latencies == sorted(load.latencies)
    # The same clients without a rate see nothing of it.
    assert max(generator.run(call, 1, count=3).latencies) < 0.3
