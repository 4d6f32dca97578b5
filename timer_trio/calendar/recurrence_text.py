"""The reader of RRULE values (RFC 5545, section 3.3.10), strict in what it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NoReturn, TypeVar

from timer_trio.calendar.recurrence import Frequency, Recurrence
from timer_trio.calendar.rule_error import RuleError

_Item = TypeVar("_Item")

LONGEST: Final = 4_000
"""Characters. Each day of a year, counted from both ends, has 3,400."""
_MOST: Final = 999_999_999
_WEEKDAYS: Final = {
    name: day for day, name in enumerate(["MO", "TU", "WE", "TH", "FR", "SA", "SU"])
}
_DAY: Final = re.compile(r"(?P<nth>[+-]?[0-9]{1,2})?(?P<day>MO|TU|WE|TH|FR|SA|SU)")
_UNTIL: Final = re.compile(r"[0-9]{8}(T[0-9]{6}Z?)?")
_NUMBERS: Final = {
    "BYSECOND": (0, 59),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYMONTH": (1, 12),
    "BYSETPOS": (-366, 366),
}
"""Least and greatest of each list; where they count from the end as well, 0 is none."""
_NAMES: Final = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_NUMBERS)


@lru_cache(maxsize=4_096)  # reading one costs 20 µs
def read_recurrence(text: str) -> Recurrence:
    """Read the value of an RRULE.

    Raises:
        RuleError: it is none, or has a FREQ finer than daily.
    """
    if len(text) > LONGEST:
        raise _wrong(f"must have at most {LONGEST} characters")
    parts = _parts(text.upper())
    frequency = _frequency(parts)
    _check_fit(parts, frequency)
    return Recurrence(
        frequency=frequency,
        interval=_number(parts, "INTERVAL") or 1,
        week_start=_week_start(parts),
        months=_numbers(parts, "BYMONTH"),
        week_numbers=_numbers(parts, "BYWEEKNO"),
        year_days=_numbers(parts, "BYYEARDAY"),
        month_days=_numbers(parts, "BYMONTHDAY"),
        weekdays=_weekdays(parts),
        hours=_numbers(parts, "BYHOUR"),
        minutes=_numbers(parts, "BYMINUTE"),
        seconds=_numbers(parts, "BYSECOND"),
        positions=_numbers(parts, "BYSETPOS"),
        count=_number(parts, "COUNT"),
        until=_until(parts),
    )


def _wrong(words: str) -> RuleError:
    return RuleError("rrule", words)


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not equals or name not in _NAMES:
            raise _wrong(_no_part(name))
        if name in parts:
            raise _wrong(f"must have {name} only once")
        parts[name] = value
    return parts


def _no_part(name: str) -> str:
    said = f"has a part that it cannot have, {name[:20]!a}" if name else "has an empty part"
    return f"{said}: it must be the value of one RRULE, such as FREQ=WEEKLY;BYDAY=MO,WE"


def _frequency(parts: Mapping[str, str]) -> Frequency:
    name = parts.get("FREQ", "")
    if name in {"SECONDLY", "MINUTELY", "HOURLY"}:
        raise _wrong(f"must have a FREQ of DAILY or coarser: for {name} take `every` or `cron`")
    if name not in Frequency.__members__:
        raise _wrong("must have a FREQ: DAILY, WEEKLY, MONTHLY or YEARLY")
    return Frequency[name]


def _check_fit(parts: Mapping[str, str], frequency: Frequency) -> None:
    """Refuse what RFC 5545 says must not stand together."""
    for name, allowed in _ALLOWED.items():
        if name in parts and frequency not in allowed:
            raise _wrong(f"must not have {name} with FREQ={frequency.name}")
    if "COUNT" in parts and "UNTIL" in parts:
        raise _wrong("must not have both COUNT and UNTIL")
    if "BYSETPOS" in parts and sum(name.startswith("BY") for name in parts) == 1:
        raise _wrong("must not have BYSETPOS without another BY part")
    if _is_nth(parts) and (frequency not in _WITH_NTH or "BYWEEKNO" in parts):
        raise _wrong(
            "must not number a day of BYDAY but with FREQ=MONTHLY or YEARLY, sans BYWEEKNO"
        )


_ALLOWED: Final = {
    "BYWEEKNO": {Frequency.YEARLY},
    "BYYEARDAY": {Frequency.YEARLY},
    "BYMONTHDAY": {Frequency.DAILY, Frequency.MONTHLY, Frequency.YEARLY},
}
_WITH_NTH: Final = {Frequency.MONTHLY, Frequency.YEARLY}


def _is_nth(parts: Mapping[str, str]) -> bool:
    return any(character.isdigit() for character in parts.get("BYDAY", ""))


def _number(parts: Mapping[str, str], name: str) -> int | None:
    if name not in parts:
        return None
    text = parts[name]
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise _wrong(f"must have a whole number from 1 to {_MOST} as {name}")
    return int(text)


def _numbers(parts: Mapping[str, str], name: str) -> frozenset[int]:
    least, greatest = _NUMBERS[name]
    return _list(parts, name, lambda text: _listed(text, least, greatest), _span(least, greatest))


def _listed(text: str, least: int, greatest: int) -> int | None:
    if not re.fullmatch(r"[+-]?[0-9]{1,3}" if least < 0 else r"[0-9]{1,3}", text):
        return None
    number = int(text)
    return number if least <= number <= greatest and (number or not least) else None


def _span(least: int, greatest: int) -> str:
    if least >= 0:
        return f"numbers from {least} to {greatest}"
    return f"numbers from 1 to {greatest}, or {least} to -1 counted from the end"


def _weekdays(parts: Mapping[str, str]) -> frozenset[tuple[int, int]]:
    return _list(parts, "BYDAY", _weekday, "MO, TU, WE, TH, FR, SA, SU, or numbered, as -1FR")


def _weekday(text: str) -> tuple[int, int] | None:
    found = _DAY.fullmatch(text)
    if not found:
        return None
    nth = int(found["nth"] or 0)
    is_fit = abs(nth) <= 53 and (nth or not found["nth"])
    return (_WEEKDAYS[found["day"]], nth) if is_fit else None


def _list(
    parts: Mapping[str, str], name: str, read: Callable[[str], _Item | None], words: str
) -> frozenset[_Item]:
    if name not in parts:
        return frozenset()
    items = frozenset(map(read, parts[name].split(",")))
    known = frozenset(item for item in items if item is not None)
    if len(known) < len(items):
        raise _wrong(f"must have {words} as {name}, commas between them")
    return known


def _week_start(parts: Mapping[str, str]) -> int:
    name = parts.get("WKST", "MO")
    if name not in _WEEKDAYS:
        raise _wrong("must have a day as WKST: MO, TU, WE, TH, FR, SA or SU")
    return _WEEKDAYS[name]


def _until(parts: Mapping[str, str]) -> datetime | None:
    if "UNTIL" not in parts:
        return None
    text = parts["UNTIL"]
    try:
        return _until_of(text) if _UNTIL.fullmatch(text) else _no_until()
    except ValueError:
        return _no_until()


def _until_of(text: str) -> datetime:
    """Read a day, of which all belongs to it, a reading of the clock, or an instant in UTC."""
    day, _, time = text.partition("T")
    wall = datetime.strptime(day + (time.rstrip("Z") or "235959"), "%Y%m%d%H%M%S")  # noqa: DTZ007
    return wall.replace(tzinfo=UTC) if text.endswith("Z") else wall


def _no_until() -> NoReturn:
    raise _wrong("must have a date or a time as UNTIL: 20301231, 20301231T170000, 20301231T170000Z")
