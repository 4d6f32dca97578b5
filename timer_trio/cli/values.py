"""What people write as values of options: spans of time, instants, pairs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_NUMBER: Final = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)
_SPAN: Final = re.compile(
    r"(?=.)(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,6})?)s)?", re.ASCII
)
_UNITS_S: Final = (86_400, 3_600, 60, 1)


def span(text: str) -> float:
    """Read seconds: `90`, `1.5`, `5m`, `1h30m`, `7d`.

    Raises:
        click.BadParameter: they are none.
    """
    if _NUMBER.fullmatch(text):
        return float(text)
    if (seconds := _span_s(text)) is not None:
        return seconds
    raise click.BadParameter(f"{text!r} is no time such as 90, 1.5s, 5m, 1h30m or 7d")


def endless_span(text: str) -> float:
    """Read likewise; `none` is infinite."""
    return math.inf if text == "none" else span(text)


def instant(text: str) -> str:
    """Return an instant as the API takes it; `7d` is so long ago.

    Raises:
        click.BadParameter: the calendar does not go back so far.
    """
    if (seconds := _span_s(text)) is None:
        return text  # the service reads it, and says what is wrong with it
    try:
        return (_now() - timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        raise click.BadParameter(f"{text!r} is longer ago than the calendar goes back") from None


def exact_instant(text: str) -> datetime:
    """Read an instant with its offset, in UTC.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        read = datetime.fromisoformat(text)
        if read.tzinfo is not None and 1970 <= read.year < 9000:
            return read.astimezone(UTC)
    except ValueError:
        pass
    raise click.BadParameter(f"{text!r} is no instant with an offset such as 2030-01-31T09:30:00Z")


def pairs(texts: Sequence[str], mark: str, option: str) -> Mapping[str, str]:
    """Split texts such as `name=value`; spaces around a header's parts are nobody's.

    Raises:
        click.UsageError: one has no mark, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, there, value = text.partition(mark)
        if not there or not name:
            raise click.UsageError(f"{option} must be NAME{mark}VALUE: {text!r} is not")
        if name in found:
            raise click.UsageError(f"{option} names {name!r} twice")
        found[name] = value
    return found


def _span_s(text: str) -> float | None:
    match = _SPAN.fullmatch(text)
    if match is None:
        return None
    given = zip(match.groups(default="0"), _UNITS_S, strict=True)
    return sum(float(number) * unit_s for number, unit_s in given)


def _now() -> datetime:
    # What a person calls an hour ago is so by the clock on his wall.
    return datetime.now(UTC)  # noqa: TID251 - it schedules nothing
