from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from timer_trio.config import LogFormat, LogLevel
from timer_trio.log import configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


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


class Deserted(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_line_that_nobody_can_read_stops_nobody(fmt: LogFormat) -> None:
    configure("info", fmt, Deserted())
    structlog.get_logger().info("fired")
    logging.getLogger("somebody").warning("else")
