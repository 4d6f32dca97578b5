"""What holds of all rules: bounds, wrong input in words, and nothing that costs long or breaks."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import thread_time
from typing import Final

import pytest
import tzdata
from hypothesis import given, settings
from hypothesis import strategies as st

from timer_trio.calendar import RuleError, check_rule, instants, next_after, zone_data_version
from timer_trio.calendar.zones import zone
from timer_trio.domain.schedule_rule import Bounds, CronRule, EveryRule, RecurrenceRule, Rule

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)
AFTER_ALL: Final = datetime.max.replace(tzinfo=UTC)
DAY: Final = timedelta(days=1)
JUST: Final = timedelta(microseconds=1)


def cron(text: str, timezone: str = "UTC") -> CronRule:
    return CronRule(text=text, timezone=timezone)


def rrule(text: str, timezone: str = "UTC") -> RecurrenceRule:
    return RecurrenceRule(text=text, timezone=timezone)


def bounds(
    anchor: datetime = START, end: datetime | None = None, *, given_start: bool = True
) -> Bounds:
    return Bounds(anchor=anchor, starts_at_anchor=given_start, end_at=end)


# Bounds.

DAILY: Final = (cron("0 0 * * *"), EveryRule(seconds=86_400), rrule("FREQ=DAILY"))


@pytest.mark.parametrize("rule", DAILY)
def test_a_given_start_is_the_first_instant_and_nothing_is_before(rule: Rule) -> None:
    assert next_after(rule, bounds(), START - 400 * DAY) == START
    assert next_after(rule, bounds(), START) == START + DAY


@pytest.mark.parametrize("rule", DAILY)
def test_a_start_long_past_is_an_anchor(rule: Rule) -> None:
    past = START - 20_000 * DAY
    assert next_after(rule, bounds(past), START) == START + DAY


@pytest.mark.parametrize("rule", DAILY)
def test_the_end_is_the_last_instant_that_may_match(rule: Rule) -> None:
    end = START + 2 * DAY
    expected = [START, START + DAY, end]
    assert list(instants(rule, bounds(end=end), START - JUST)) == expected
    assert list(instants(rule, bounds(end=end - JUST), START - JUST)) == expected[:-1]
    assert next_after(rule, bounds(end=end), end) is None


def test_without_a_start_cron_has_instants_before_the_creation() -> None:
    created = bounds(given_start=False)
    assert next_after(DAILY[0], created, START - 3 * DAY) == START - 2 * DAY
    assert next_after(DAILY[0], created, BEFORE_ALL) == FIRST
    assert next_after(DAILY[1], created, START - 3 * DAY) == START + DAY
    assert next_after(DAILY[2], created, START - 3 * DAY) == START


@pytest.mark.parametrize("rule", DAILY)
def test_an_end_before_the_first_instant_is_refused(rule: Rule) -> None:
    check_rule(rule, bounds(START - DAY / 2, START + DAY))
    with pytest.raises(RuleError, match="not be before the first occurrence, 20") as raised:
        check_rule(rule, bounds(START + JUST, START + JUST / 2 - JUST))
    assert raised.value.field == "end_at"


@pytest.mark.parametrize("anchor", [FIRST - JUST, AFTER_ALL, BEFORE_ALL])
def test_a_start_outside_of_the_calendar_is_refused(anchor: datetime) -> None:
    with pytest.raises(RuleError, match="1970 to 9999") as raised:
        check_rule(DAILY[0], bounds(anchor))
    assert raised.value.field == "start_at"


# Zones.


def test_zones_are_those_of_the_package() -> None:
    assert zone_data_version() == tzdata.IANA_VERSION
    assert zone("Europe/Berlin") is zone("Europe/Berlin")
    assert zone("Europe/Berlin").key == "Europe/Berlin"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("europe/berlin", "did you mean Europe/Berlin"),
        ("utc", "did you mean UTC"),
        ("CEST", "take an IANA name"),
        ("+02:00", "take an IANA name"),
        ("", "take an IANA name"),
        ("Factory", "take an IANA name"),
        ("../zones", "take an IANA name"),
        ("/etc/passwd", "take an IANA name"),
        ("Europe/Berlin\0", "take an IANA name"),
    ],
)
def test_an_unknown_zone_is_refused(name: str, words: str) -> None:
    for rule in (cron("0 0 * * *", name), rrule("FREQ=DAILY", name)):
        with pytest.raises(RuleError, match=words) as raised:
            check_rule(rule, bounds())
        assert raised.value.field == "timezone"


# Words.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must have five fields"),
        ("* * * *", "must have five fields"),
        ("* * * * * * *", "must have five fields"),
        ("* * * * ?", "must have five fields"),
        ("*\t* * * *", "must have five fields"),
        ("* * * * *\n", "must have five fields"),
        ("* * * * *\0", "must have five fields"),
        ("٣ * * * *", "must have five fields"),
        ("* * * * fr\u0131", "must have five fields"),
        ("@daily", "must be written in fields"),
        ("60 * * * *", "minute field that cannot be read, 60: 0-59"),
        ("*/0 * * * *", "minute field that cannot be read"),
        ("1-2-3 * * * *", "minute field that cannot be read"),
        ("5-1 * * * *", "minute field that cannot be read"),
        (", * * * *", "minute field that cannot be read"),
        ("* 24 * * *", "hour field that cannot be read"),
        ("* * 0 * *", "day of month field that cannot be read"),
        ("* * 32 * *", "day of month field that cannot be read"),
        ("* * L/2 * *", "day of month field that cannot be read"),
        ("* * 1,LW/2 * *", "day of month field that cannot be read"),
        ("* * * 13 *", "month field that cannot be read"),
        ("* * * FOO *", "month field that cannot be read"),
        ("* * * * 8", "day of week field that cannot be read"),
        ("* * * * L", "day of week field that cannot be read"),
        ("* * * * FRIL", "day of week field that cannot be read"),
        ("* * * * 1#6", "day of week field that cannot be read"),
        ("* * * * 1#2/3", "day of week field that cannot be read"),
        ("60 * * * * *", "second field that cannot be read"),
        ("1" * 60 + " * * * *", r"cannot be read, 11111111111111111111\.\.\.: 0-59"),
        ("0 0 30 2 *", "never matches"),
        ("0 0 31 4,6,9,11 *", "never matches"),
        ("0 0 */31 * 1#2", "never matches"),
        ("0" + ",0" * 200 + " * * * *", "at most 255 characters"),
    ],
)
def test_what_is_wrong_with_a_cron_expression_is_said_in_words(text: str, words: str) -> None:
    with pytest.raises(RuleError, match=words) as raised:
        check_rule(cron(text), bounds())
    assert raised.value.field == "cron"


@pytest.mark.parametrize("seconds", [0, 0.999, -1, 1.6e9, 1e300, float("inf"), float("nan")])
def test_an_interval_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(RuleError, match="from 1 second to 50 years") as raised:
        check_rule(EveryRule(seconds=seconds), bounds())
    assert raised.value.field == "every"


def test_an_interval_past_the_last_year_never_matches() -> None:
    late = bounds(datetime(9990, 1, 1, tzinfo=UTC), given_start=False)
    with pytest.raises(RuleError, match="never matches"):
        check_rule(EveryRule(seconds=1.5e9), late)


# What is rare, and what is meant to cost.


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (cron("0 0 */28 2 MON"), [2044, 2072, 2112]),  # the 29th of February, a Monday
        (rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO"), [2044, 2072, 2112]),
        (rrule("FREQ=YEARLY;INTERVAL=50"), [2026, 2076, 2126]),
    ],
)
def test_what_is_rare_is_found_within_fifty_years(rule: Rule, expected: list[int]) -> None:
    found = islice(instants(rule, bounds(), START - JUST), 40)
    years = list(dict.fromkeys(at.year for at in found if at.day != 1 or at.month == 1))
    assert years[:3] == expected


def test_what_comes_less_often_has_ended() -> None:
    assert next_after(rrule("FREQ=YEARLY;INTERVAL=51"), bounds(), START) is None


ALL_TIMES: Final = ";".join(
    f"BY{name}={','.join(map(str, range(size)))}"
    for name, size in {"HOUR": 24, "MINUTE": 60, "SECOND": 60}.items()
)
ALL_POSITIONS: Final = ",".join(map(str, range(1, 367)))
HOSTILE: Final = [
    cron("0 0 0 */31 * 1#2"),
    cron("59 59 23 */28 2 0", "Pacific/Apia"),
    cron("0" + ",0" * 120 + " * * * *"),
    cron("*/9" + "9" * 200 + " * * * *"),
    rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"),
    rrule("FREQ=DAILY;INTERVAL=7;BYDAY=MO"),
    rrule("FREQ=WEEKLY;BYDAY=MO;BYMONTH=1;BYSETPOS=7"),
    rrule("FREQ=DAILY;INTERVAL=999999999"),
    rrule("FREQ=YEARLY;INTERVAL=999999999;BYDAY=53MO"),
    rrule("FREQ=DAILY;INTERVAL=2;COUNT=9000"),
    rrule("FREQ=DAILY;COUNT=999999999"),
    rrule(f"FREQ=DAILY;COUNT=999999999;{ALL_TIMES}"),
    rrule(f"FREQ=YEARLY;BYDAY=MO,TU,WE;{ALL_TIMES};BYSETPOS={ALL_POSITIONS}"),
    rrule(f"FREQ=MONTHLY;BYDAY=MO,TU,WE;{ALL_TIMES};BYSETPOS={ALL_POSITIONS};INTERVAL=7"),
    rrule("FREQ=YEARLY;BYWEEKNO=" + ",".join(map(str, range(-53, 0))) + ";BYMONTH=6;BYYEARDAY=1"),
]


@pytest.mark.parametrize("rule", HOSTILE)
def test_no_rule_costs_long(rule: Rule) -> None:
    begin = thread_time()
    with suppress(RuleError):
        check_rule(rule, bounds())
    with suppress(RuleError):
        next_after(rule, bounds(FIRST), START)
    assert thread_time() - begin < 0.1  # for two; 20 ms on a machine that is idle


# What nobody should send.

ZONES: Final = st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia", "Africa/Monrovia", "x"])
CRONS: Final = st.text() | st.text("0123456789*/,-#LWMONSUJAF ", max_size=40)
NAMES: Final = (
    *("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY"),
    *("BYYEARDAY", "BYWEEKNO", "BYHOUR", "BYSETPOS", "X"),
)
VALUES: Final = ("DAILY", "YEARLY", "MO", "-1MO", "1", "-1", "53", "99999", "00010101", "")
PARTS: Final = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text(max_size=5)).map("=".join),
    max_size=5,
)
RRULES: Final = (
    st.text()
    | PARTS.map(";".join)
    | st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]).flatmap(
        lambda frequency: PARTS.map(lambda parts: ";".join([f"FREQ={frequency}", *parts]))
    )
)
RULES: Final = (
    st.builds(CronRule, text=CRONS, timezone=ZONES)
    | st.builds(RecurrenceRule, text=RRULES, timezone=ZONES)
    | st.builds(EveryRule, seconds=st.floats())
)
INSTANTS: Final = st.datetimes(timezones=st.just(UTC)) | st.sampled_from([BEFORE_ALL, AFTER_ALL])
BOUNDS: Final = st.builds(
    Bounds, anchor=INSTANTS, starts_at_anchor=st.booleans(), end_at=st.none() | INSTANTS
)


@settings(deadline=None, max_examples=400)
@given(RULES, BOUNDS, INSTANTS)
def test_nothing_but_a_rule_error_comes_of_any_input(
    rule: Rule, within: Bounds, after: datetime
) -> None:
    with suppress(RuleError):
        check_rule(rule, within)
    found: list[datetime] = []
    with suppress(RuleError):
        found = list(islice(instants(rule, within, after), 3))
    assert all(before < at for before, at in zip([after, *found], found, strict=False))
    assert all(at <= (within.end_at or AFTER_ALL) for at in found)
    assert all(at.tzinfo is UTC for at in found)
