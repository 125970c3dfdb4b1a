"""What a load test writes: a table, JSON, and a picture."""

import dataclasses
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from tf_mtl.files import replacing, write_json
from tf_mtl.loadtest.config import LoadConfig
from tf_mtl.loadtest.generator import Load

_PERCENTS = (50, 90, 95, 99, 99.9)


def summary(load: Load, batch_size: int) -> dict[str, Any]:
    """The numbers of a load.

    Args:
        load: what was measured.
        batch_size: rows per request.

    Returns:
        dict of requests and rows per second, latencies in milliseconds, and number of
        requests by code.
    """
    answered = len(load.latencies)
    latencies = {
        f"p{percent:g}": round(load.percentile(percent), 4)
        for percent in _PERCENTS
        if answered
    }
    return {
        "requests_per_second": round(answered / load.seconds, 2),
        "rows_per_second": round(answered * batch_size / load.seconds, 1),
        "milliseconds": latencies,
        "codes": dict(sorted(load.codes.items())),
    }


def ratios(loads: Mapping[str, Load], rate: float) -> dict[str, float]:
    """Latency and throughput of `grpc` over those of `in_process`.

    Args:
        loads: what was measured of both.
        rate: at which was asked. With one, throughput says nothing of the server.

    Returns:
        dict of ratios; empty if one of them has no answer.
    """
    server, local = loads["grpc"], loads["in_process"]
    if not server.latencies or not local.latencies:
        return {}
    found = {
        "p50": round(server.percentile(50) / local.percentile(50), 3),
        "p99": round(server.percentile(99) / local.percentile(99), 3),
    }
    if not rate:
        per_second = [len(load.latencies) / load.seconds for load in (server, local)]
        found["throughput"] = round(per_second[0] / per_second[1], 3)
    return found


def text(loads: Mapping[str, Load], batch_size: int, rate: float) -> str:
    """A table of all loads, with the ratios where there are two."""
    lines = [
        f"{'':12}{'req/s':>10}{'rows/s':>12}"
        + "".join(f"{f'p{p:g} ms':>11}" for p in _PERCENTS)
    ]
    for name, load in loads.items():
        found = summary(load, batch_size)
        lines.append(
            f"{name:12}{found['requests_per_second']:>10.1f}"
            f"{found['rows_per_second']:>12.0f}"
            + "".join(f"{value:>11.3f}" for value in found["milliseconds"].values())
        )
        if set(load.codes) != {"OK"}:
            lines.append(f"{'':12}{found['codes']}")
    if len(loads) == 2 and (found := ratios(loads, rate)):
        lines.append(
            "gRPC over in-process: "
            + ", ".join(f"{name} x{ratio}" for name, ratio in found.items())
        )
    return "\n".join(lines)


def write(
    path: str | os.PathLike[str], config: LoadConfig, loads: Mapping[str, Load]
) -> None:
    """Writes the options, the machine and the numbers as JSON."""
    result = {
        "config": dataclasses.asdict(config),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        **{name: summary(load, config.batch_size) for name, load in loads.items()},
    }
    if len(loads) == 2:
        result["ratios"] = ratios(loads, config.rate)
    write_json(pathlib.Path(path), result)


def draw(
    path: str | os.PathLike[str], config: LoadConfig, loads: Mapping[str, Load]
) -> None:
    """Draws the histogram of the latencies into a PNG file."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    colors = matplotlib.color_sequences["tab10"]
    for (name, load), color in zip(loads.items(), colors, strict=False):
        if not load.latencies:
            continue
        # The slowest of a thousand would squeeze the others into one bar.
        limit = load.percentile(99.9)
        shown = [s * 1e3 for s in load.latencies if s * 1e3 <= limit]
        label = f"{name}, p50 {load.percentile(50):.2f} ms"
        axes.hist(shown, bins=80, alpha=0.6, color=color, label=label)
        for percent in (50, 99):
            axes.axvline(load.percentile(percent), color=color, ls="--", lw=0.8)
    axes.set(
        xlabel="latency, ms (dashed: p50, p99; shown up to p99.9)",
        ylabel="requests",
        title=f"{config.signature}, batch {config.batch_size}, "
        f"{config.concurrency} clients",
    )
    axes.legend()
    with replacing(pathlib.Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)
