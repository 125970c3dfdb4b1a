r"""Measure what a model server answers, and how fast.

Examples:
  tf-mtl loadtest --model_name=feed --batch_size=256 --concurrency=8
  tf-mtl loadtest --model_name=feed --compare_with=saved_models/feed/1 \
      --output=load.json --picture=load.png

Any server of TensorFlow Serving's gRPC protocol will do. Requests are serialized before
the measurement. Printed: requests and rows per second, percentiles of the latency, and
the codes of requests that failed. With --compare_with the SavedModel also answers in
this process, in turns with the server, and the ratios are printed. Server and clients
on one machine share its cores.
"""

from absl import flags

from tf_mtl.commands import options
from tf_mtl.loadtest.config import LoadConfig


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    options.define(LoadConfig, values)
    flags.DEFINE_string("output", "", "JSON file to write.", flag_values=values)
    flags.DEFINE_string(
        "picture", "", "PNG file to draw the latencies into.", flag_values=values
    )


def run(values: flags.FlagValues) -> None:
    """Runs the load test.

    Raises:
        ValueError: if the options do not fit, or the server cannot be asked.
    """
    config = options.read(LoadConfig, values)
    from tf_mtl.loadtest import report, runner

    loads = runner.run(config)
    print(report.text(loads, config.batch_size, config.rate))
    if values.output:
        report.write(values.output, config, loads)
    if values.picture:
        report.draw(values.picture, config, loads)
