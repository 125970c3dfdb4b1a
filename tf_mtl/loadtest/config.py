"""LoadConfig: the options of a load test."""

import dataclasses

from tf_mtl.options import option


@dataclasses.dataclass(frozen=True)
class LoadConfig:
    """What is asked of a server, how often, and by how many clients.

    Each field has a `help` in its metadata, which the command line shows.
    """

    target: str = option("127.0.0.1:8500", "Address of the gRPC port.")
    tls_ca: str = option(
        "", "PEM file with the certificate that vouches for the server, for TLS."
    )
    model_name: str = option("", "Name of the model on the server.")
    signature: str = option(
        "serve_examples", "Signature to call: `serve_examples` or `serving_default`."
    )
    batch_size: int = option(1, "Rows per request.")
    concurrency: int = option(1, "Clients, each with one request at a time.")
    connections: int = option(0, "Connections that they share. 0: one per client.")
    rate: float = option(
        0.0,
        "Requests per second of all clients, at fixed times, each timed from when it "
        "is due. 0: each client asks as soon as it is answered.",
    )
    duration: float = option(10.0, "Time to measure, seconds.")
    count: int = option(0, "Number of requests to measure, instead of a time.")
    warmup: float = option(1.0, "Time to call before, seconds.")
    deadline: float = option(0.0, "Deadline of a request, seconds. 0: none.")
    examples: str = option(
        "", "TFRecord file of tf.Examples to ask about. Default: made-up rows."
    )
    compare_with: str = option(
        "", "Folder of the SavedModel, to call it in this process in turns."
    )
    rounds: int = option(5, "Turns, with `compare_with`.")
    seed: int = option(0, "Seed of made-up rows.")

    def __post_init__(self) -> None:
        if not self.model_name:
            raise ValueError("`model_name` must be given: --model_name=feed.")
        for name in ("batch_size", "concurrency", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: {getattr(self, name)}."
                )
        for name in ("connections", "count", "rate", "duration", "warmup", "deadline"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`{name}` must not be negative. Received: {getattr(self, name)}."
                )
