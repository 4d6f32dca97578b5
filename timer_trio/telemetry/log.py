"""The log: structlog, and whatever the libraries say through the standard library's logging."""

from __future__ import annotations

import logging
import os
from typing import Any, Final, TextIO

import structlog

from timer_trio.config import LogFormat, LogLevel
from timer_trio.telemetry.json_lines import JsonRenderer
from timer_trio.telemetry.output import Output, wants_colors

TRACE: Final = 5
_LEVELS: Final[dict[LogLevel, int]] = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


def configure(level: LogLevel, fmt: LogFormat | None, stream: TextIO) -> None:
    """Send every event from `level` up to `stream`, one line each.

    Without a format a terminal gets `console`, everything else `json`. The stream's writes must
    neither wait nor fail, as those of an `Output` or of one in memory.
    """
    if isinstance(stream, Output):
        stream.tell_dropped = _tell_dropped
    fmt = fmt or ("console" if stream.isatty() else "json")
    structlog.configure(
        processors=_processors(fmt, stream),
        wrapper_class=_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Writer(stream),
    )
    logging.basicConfig(handlers=[_IntoStructlog()], level=_LEVELS[level], force=True)


def _tell_dropped(count: int) -> None:
    structlog.get_logger().warning("log_lines_dropped", count=count)


class _Writer:
    def __init__(self, stream: TextIO) -> None:
        self._write = stream.write

    def msg(self, message: str) -> None:
        self._write(message + "\n")

    trace = debug = info = warning = error = critical = msg


def _bound_logger(level: int) -> type[structlog.typing.FilteringBoundLogger]:
    # structlog knows no level below debug.
    base = structlog.make_filtering_bound_logger(level if level > TRACE else logging.NOTSET)
    trace = _trace if level <= TRACE else _silent
    return type("BoundLogger", (base,), {"trace": trace})


def _trace(logger: Any, event: str, **values: object) -> None:
    logger._proxy_to_logger("trace", event, **values)  # noqa: SLF001 - how structlog's own do it


def _silent(_logger: Any, _event: str, **_values: object) -> None:
    pass


def _processors(fmt: LogFormat, stream: TextIO) -> list[structlog.typing.Processor]:
    common: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Both write a traceback without the values of variables, which may be secrets.
    if fmt == "json":
        return [*common, structlog.processors.format_exc_info, JsonRenderer(stream)]
    plain = structlog.dev.plain_traceback
    colors = stream.isatty() and wants_colors(os.environ)
    return [*common, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


class _IntoStructlog(logging.Handler):
    """Hands the records of the standard library's loggers over to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger().log(
                _nearest_level(record.levelno),
                record.getMessage(),
                logger=record.name,
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001 - a record that cannot be written must not stop its writer
            self.handleError(record)


def _nearest_level(levelno: int) -> int:
    # structlog takes the five well-known levels alone.
    return max(logging.DEBUG, min(logging.CRITICAL, levelno // 10 * 10))
