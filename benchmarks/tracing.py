"""What tracing costs: 500 timers a second, with spans to a collector and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

from benchmarks.contender import service
from benchmarks.firing import in_turn, mean_us, steady
from benchmarks.receiving import together
from benchmarks.report import Line, Size
from benchmarks.steady import DESTINATIONS, RATE

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
    rounds, seconds = (1, 6) if size is Size.QUICK else (3, 10)
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
        starts = [partial(service, settings) for settings in ways.values()]
        runs_of_each = in_turn(starts, steady(RATE, seconds, DESTINATIONS), rounds)
    for way, runs in zip(ways, runs_of_each, strict=True):
        late = together([each.seen for each in runs])
        yield Line(NAME, f"worker CPU a timer, {way}", mean_us(runs), "us")
        yield Line(NAME, f"late, p50, {way}", late.late_ms(0.5), "ms")
        yield Line(NAME, f"late, p99, {way}", late.late_ms(0.99), "ms")
