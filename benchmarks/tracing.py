"""What tracing costs: 500 timers a second, with spans to a collector and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

from benchmarks.report import Line, Size
from benchmarks.steady import side_by_side

NAME: Final = "tracing"


class _Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _collector() -> Iterator[str]:
    """Run a collector that looks at nothing; yields its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Taking) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def measure(size: Size) -> Iterator[Line]:
    with _collector() as url:
        ways = {
            "off": {"TRACING": "off"},
            "on": {"TRACING": "on", "OTEL_EXPORTER_OTLP_ENDPOINT": url},
            "on, a twentieth sampled": {
                "TRACING": "on",
                "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.05",
            },
        }
        yield from side_by_side(NAME, ways, size)
