"""The load test: warms up, measures, and compares if asked to."""

from tf_mtl.loadtest import clients, generator
from tf_mtl.loadtest.config import LoadConfig
from tf_mtl.loadtest.generator import Load


def run(config: LoadConfig) -> dict[str, Load]:
    """Runs a load test.

    With `compare_with`, server and SavedModel take turns, so that what else the
    machine does meets both.

    Args:
        config: what is asked, how often, and by how many clients.

    Returns:
        dict of `grpc` and, with `compare_with`, `in_process` to what was measured.

    Raises:
        ValueError: see `clients`.
    """
    inputs = clients.make_inputs(config)
    calls = {"grpc": clients.grpc_call(config, inputs)}
    rounds = 1
    if config.compare_with:
        calls["in_process"] = clients.in_process_call(config, inputs)
        rounds = config.rounds
    loads = {name: Load() for name in calls}
    for call in calls.values():
        generator.run(call, config.concurrency, config.warmup, rate=config.rate)
    for _ in range(rounds):
        for name, call in calls.items():
            loads[name].add(
                generator.run(
                    call,
                    config.concurrency,
                    config.duration / rounds,
                    -(-config.count // rounds),
                    config.rate,
                )
            )
    return loads
