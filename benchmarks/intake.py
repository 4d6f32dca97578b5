"""How many timers a second come in and are durable: one by one, in batches, and by import.

The single create is compared with the echo (echo.py), by turns in the same run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import psycopg

from benchmarks.client import Load, load, request_bytes
from benchmarks.contender import API_KEY, Contender, service
from benchmarks.figures import cost_lines
from benchmarks.machine import cpu_s, monotonic
from benchmarks.programs import BenchmarkError, running, temporary_folder
from benchmarks.report import Line, Size

NAME: Final = "intake"
CONNECTIONS: Final = 32
BATCH: Final = 1000
BATCH_CONNECTIONS: Final = 4
CHUNK_BYTES: Final = 1 << 16
IMPORT_PATIENCE_S: Final = 120.0

TIMER: Final = {
    "delay": "P30D",
    "callback_url": "https://hooks.example/reminders",
    "callback_payload": "hello",
    "metadata": {"customer": "c-17"},
}
_HEADERS: Final = {"X-API-Key": API_KEY, "Content-Type": "application/json"}


class _Echo(NamedTuple):
    url: str
    pid: int


def measure(size: Size) -> Iterator[Line]:
    rounds, seconds, lines = (1, 4, 50_000) if size is Size.QUICK else (3, 6, 300_000)
    with service() as contender, _echo() as echo:
        yield from _single(contender, echo, rounds, seconds)
        yield from _batch(contender, seconds)
        yield from _import(contender, lines)


def _single(contender: Contender, echo: _Echo, rounds: int, seconds: float) -> Iterator[Line]:
    body = json.dumps(TIMER).encode()
    echoes: list[Load] = []
    creates: list[Load] = []
    for url in (echo.url, contender.api_url):
        _post(url, body, 1)  # the first ones open connections to the database
    rows, began, echo_s = _rows(contender), contender.cost(), cpu_s(echo.pid)
    for _ in range(rounds):
        echoes.append(_post(echo.url, body, seconds))
        creates.append(_post(contender.api_url, body, seconds))
    cost, echo_s = contender.cost() - began, cpu_s(echo.pid) - echo_s
    count, echo_count = sum(each.count for each in creates), sum(each.count for each in echoes)
    _check_durable(contender, rows + count)
    echo_rate = sum(each.rate for each in echoes) / rounds
    rate = sum(each.rate for each in creates) / rounds
    yield Line(NAME, "echo that validates the same model", echo_rate, "/s")
    yield Line(NAME, f"single creates, {CONNECTIONS} connections", rate, "/s")
    yield Line(NAME, "single creates, share of the echo's rate", rate / echo_rate, at_least=0.6)
    yield Line(NAME, "single create, p50", creates[-1].latency_ms(0.5), "ms")
    yield Line(NAME, "single create, p99", creates[-1].latency_ms(0.99), "ms")
    yield Line(NAME, "CPU an echo", echo_s / echo_count * 1e6, "us")
    yield from cost_lines(NAME, cost, count, of="a single create")


def _batch(contender: Contender, seconds: float) -> Iterator[Line]:
    url = f"{contender.api_url}/timers/batch"
    request = request_bytes(url, json.dumps({"timers": [TIMER] * BATCH}).encode(), _HEADERS)
    load(url, request, connections=BATCH_CONNECTIONS, seconds=1)
    rows, began = _rows(contender), contender.cost()
    batches = load(url, request, connections=BATCH_CONNECTIONS, seconds=seconds)
    cost, count = contender.cost() - began, batches.count * BATCH
    _check_durable(contender, rows + count)
    yield Line(NAME, "batch creates", batches.rate * BATCH, "/s", at_least=10_000)
    yield Line(NAME, "a batch of 1,000, p99", batches.latency_ms(0.99), "ms")
    yield from cost_lines(NAME, cost, count, where=", batch")


def _import(contender: Contender, lines: int) -> Iterator[Line]:
    rows, began, began_s = _rows(contender), contender.cost(), monotonic()
    answer = _send_import(contender, json.dumps(TIMER).encode() + b"\n", lines)
    seconds, cost = monotonic() - began_s, contender.cost() - began
    if answer["data"]["imported"] != lines:
        raise BenchmarkError(f"not all lines were imported: {answer}")
    _check_durable(contender, rows + lines)
    yield Line(NAME, "import", lines / seconds, "/s", at_least=15_000)
    yield from cost_lines(NAME, cost, lines, where=", import")
    yield Line(NAME, "memory of the worker after it", contender.rss_bytes() / 1e6, "MB")


def _post(base_url: str, body: bytes, seconds: float) -> Load:
    url = f"{base_url}/timers"
    request = request_bytes(url, body, _HEADERS)
    return load(url, request, connections=CONNECTIONS, seconds=seconds)


def _send_import(contender: Contender, line: bytes, lines: int) -> Any:
    """Stream so many lines, and return the last line of the answer."""
    per_chunk = max(1, CHUNK_BYTES // len(line))
    chunks = [line * per_chunk] * (lines // per_chunk) + [line * (lines % per_chunk)]
    connection = HTTPConnection(urlsplit(contender.api_url).netloc, timeout=IMPORT_PATIENCE_S)
    headers = {
        "X-API-Key": API_KEY,
        "Content-Type": "application/x-ndjson",
        "Transfer-Encoding": "chunked",
    }
    body = (chunk for chunk in chunks if chunk)
    connection.request("POST", "/timers/import", body, headers, encode_chunked=True)
    answer = connection.getresponse().read()
    connection.close()
    try:
        last = json.loads(answer.splitlines()[-1])
        imported: int = last["data"]["imported"]
    except (ValueError, LookupError, TypeError):
        raise BenchmarkError(f"the import was refused: {answer[:1000].decode()}") from None
    if last["code"]:
        raise BenchmarkError(f"the import ended after {imported} timers: {last}")
    return last


def _rows(contender: Contender) -> int:
    with psycopg.connect(contender.database.url) as connection:
        row = connection.execute("SELECT count(*) FROM timers").fetchone()
    assert row is not None
    return int(row[0])


def _check_durable(contender: Contender, rows: int) -> None:
    if (found := _rows(contender)) != rows:
        raise BenchmarkError(f"{rows} timers were acknowledged, {found} are there")


@contextmanager
def _echo() -> Iterator[_Echo]:
    with temporary_folder() as folder, running("-m", "benchmarks.echo", folder=folder) as program:
        yield _Echo(program.wait_line("listens on", 30).rpartition(" ")[2], program.pid)
