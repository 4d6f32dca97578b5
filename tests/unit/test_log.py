from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, TextIO, cast
from uuid import UUID

import pytest
import structlog

from tests.contract.timers import FIRST, NOW, spec
from timer_trio.config import LogFormat, LogLevel
from timer_trio.domain.outcome import Delivered, Rejected, TimedOut
from timer_trio.domain.timer import ClaimedTimer, Destination, TimerId
from timer_trio.telemetry import output
from timer_trio.telemetry.ended_callback import EndedCallback
from timer_trio.telemetry.log import configure
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.output import Output
from timer_trio.telemetry.record import timed, values_of, write


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structured = structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**structured)


def written(level: LogLevel = "info", fmt: LogFormat | None = None) -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    configure(level, fmt, stream)
    return structlog.get_logger(), stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_event_is_one_json_line_with_utc_time() -> None:
    log, stream = written()
    log.info("fired", late_ms=1.5, text="two\nlines \ud800")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["late_ms"]) == ("fired", "info", 1.5)
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("environ", "has_colors"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm"}, True),
    ],
)
def test_terminal_gets_colors_unless_it_or_its_user_wants_none(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, has_colors: bool
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    configure("info", None, stream)
    structlog.get_logger().warning("fired", late_ms=1)
    assert ("\x1b" in stream.getvalue()) is has_colors


def test_terminal_gets_readable_lines() -> None:
    stream = Terminal()
    configure("info", None, stream)
    structlog.get_logger().info("fired", late_ms=1)
    assert "fired" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("trace", ["trace", "debug", "info", "warning", "error"]),
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warn", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_level_keeps_out_what_is_below(level: LogLevel, expected: list[str]) -> None:
    log, stream = written(level)
    for method in (log.trace, log.debug, log.info, log.warning, log.error):
        method("event")
    assert [line["level"] for line in lines(stream)] == expected


def test_records_of_libraries_arrive_in_the_same_form() -> None:
    _, stream = written()
    library = logging.getLogger("psycopg.pool")
    library.warning("lost %s", "connection")
    library.debug("unseen")
    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("lost connection", "warning")
    assert line["logger"] == "psycopg.pool"


def test_record_of_an_odd_level_is_written() -> None:
    _, stream = written("trace")
    logging.getLogger("odd").log(35, "between")
    logging.getLogger("odd").log(7, "below")
    assert [line["level"] for line in lines(stream)] == ["warning", "debug"]


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_traceback_shows_no_values(fmt: LogFormat) -> None:
    log, stream = written(fmt=fmt)
    secret = "hunter2" * 5
    try:
        int(f"{len(secret)}x")
    except ValueError:
        log.exception("crashed")
        logging.getLogger("library").exception("crashed too")
    assert stream.getvalue().count("Traceback") == 2
    assert secret not in stream.getvalue()


def test_line_that_nobody_reads_is_dropped_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MAX_LINES", 4)
    ours, theirs = os.pipe()
    stream = Output(theirs)
    configure("info", "json", cast("TextIO", stream))
    log = structlog.get_logger()
    for number in range(10):
        log.info("fired", number=number, text="x" * 200_000)
    assert stream.dropped == 6
    with os.fdopen(ours, encoding="utf-8") as far_end:
        events = [json.loads(far_end.readline()) for _ in range(5)]
        assert [event.get("number") for event in events] == [0, 1, 2, 3, None]
        told = events[-1]
        assert (told["event"], told["level"], told["count"]) == ("log_lines_dropped", "warning", 6)
        assert stream.drain(10)
    os.close(theirs)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Delivered(204), None),
        (Rejected(503), 'HTTP 503 from "é"\n\ud800'),
        (TimedOut(), "timed out after 30s"),
    ],
)
def test_line_is_the_one_that_an_event_would_be(
    outcome: Delivered | Rejected | TimedOut, error: str | None
) -> None:
    log, stream = written()
    due_at = NOW + timedelta(seconds=1)
    timer = ClaimedTimer(
        id=TimerId(UUID(int=7)),
        claim=FIRST,
        attempt=2,
        requested_at=NOW,
        spec=spec(execute_at=due_at),
    )
    sent_at, ended_at = (due_at + timedelta(milliseconds=ms) for ms in (1.5, 31.51))
    destination = Destination('http://"\xe9".example:80')
    record = EndedCallback(timer, destination, outcome, error, sent_at, ended_at)
    write([timed(record)], Metrics())
    log.info("fired", **values_of(timed(record)))
    spelled, rendered = (without_time(line) for line in stream.getvalue().splitlines())
    assert spelled == rendered


def without_time(line: str) -> str:
    datetime.fromisoformat(json.loads(line)["timestamp"])
    return line.rpartition(", ")[0]
