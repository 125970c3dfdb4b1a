"""ServerConfig: the options of a server, for the command line and for Python."""

import dataclasses

from tf_mtl.options import option


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """What a server serves, where, and within which limits.

    Each field has a `help` in its metadata, which the command line shows.
    """

    model_base_path: str = option("", "Folder of the versions of one model.")
    model_name: str = option(
        "", "How clients call the one model. Default: the name of its folder."
    )
    model_config_file: str = option(
        "", "A models.config of TensorFlow Serving, instead of one folder."
    )
    host: str = option(
        "127.0.0.1", "Address to bind. 0.0.0.0 lets other machines in: see TLS."
    )
    port: int = option(8500, "Port of gRPC. 0 takes a free one.")
    rest_port: int = option(8501, "Port of REST. 0 takes a free one, -1 none.")
    poll_seconds: float = option(
        1.0, "Time between two looks for new versions, seconds."
    )
    concurrency: int = option(
        0, "Requests that are computed at a time. 0: two per core."
    )
    queue_size: int = option(
        256, "Requests that may wait; more get RESOURCE_EXHAUSTED or 429."
    )
    max_open_requests: int = option(
        2048,
        "Requests that may be open at a time, also those that still come in; REST: "
        "connections. More are refused before they are read.",
    )
    max_request_mb: int = option(32, "Largest request, 2^20 bytes.")
    max_rows: int = option(
        65_536, "Most rows of a request; warm-up requests may have more."
    )
    rest_timeout: float = option(30.0, "Time for a REST request, seconds.")
    drain_seconds: float = option(
        10.0, "Time that open requests get when the server is stopped, seconds."
    )
    tls_certificate: str = option("", "PEM file with the certificate, for TLS.")
    tls_key: str = option("", "PEM file with its private key.")

    batch_rows: int = option(
        0, "Rows of concurrent requests to compute together at most. 0: no batching."
    )
    batch_wait_ms: float = option(
        0.5, "Time that a request waits for others to make a batch, milliseconds."
    )

    def __post_init__(self) -> None:
        if bool(self.model_base_path) == bool(self.model_config_file):
            raise ValueError(
                "Either `model_base_path` or `model_config_file` must be given. "
                f"Received: model_base_path={self.model_base_path!r}, "
                f"model_config_file={self.model_config_file!r}."
            )
        if self.model_name and self.model_config_file:
            raise ValueError(
                "`model_name` must not be given with `model_config_file`, which names "
                f"its models. Received: model_name={self.model_name!r}."
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError(
                "`tls_certificate` and `tls_key` must be given together. Received: "
                f"tls_certificate={self.tls_certificate!r}, tls_key={self.tls_key!r}."
            )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(
                    f"`{name}` must be at least {least}. Received: {name}={value}."
                )


_LEAST = {
    "port": 0,
    "rest_port": -1,
    "poll_seconds": 0.01,
    "concurrency": 0,
    "queue_size": 0,
    "max_open_requests": 1,
    "max_request_mb": 1,
    "max_rows": 1,
    "rest_timeout": 0.001,
    "drain_seconds": 0,
    "batch_rows": 0,
    "batch_wait_ms": 0,
}
