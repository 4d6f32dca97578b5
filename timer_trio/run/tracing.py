"""Whoever collects the spans of this process, if anybody does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from timer_trio.config import StartRefusedError
from timer_trio.telemetry.tracing import Collector

LAST_S: Final = 5.0
"""How long a stop waits for a collector to take what there still is."""


@asynccontextmanager
async def collecting(instance: str, *, is_on: bool) -> AsyncIterator[Collector | None]:
    """Send spans of `instance` to a collector for the length of the block; None: it is off.

    Raises:
        StartRefusedError: OpenTelemetry is not installed, or one of its variables is wrong.
    """
    if not is_on:
        yield None
        return
    try:
        # Where it is off nothing of it is loaded.
        from timer_trio.telemetry.otlp import OtlpCollector  # noqa: PLC0415
    except ImportError as error:
        raise StartRefusedError(
            f"TRACING is on, and OpenTelemetry is not installed ({error}): install"
            " timer-trio[tracing], or leave TRACING off"
        ) from error
    try:
        collector = OtlpCollector(instance)
    except ValueError as error:
        raise StartRefusedError(
            f"TRACING is on, and a variable OTEL_... cannot be: {error}"
        ) from error
    try:
        yield collector
    finally:
        with trio.move_on_after(LAST_S, shield=True):
            await collector.close()
