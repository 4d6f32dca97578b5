from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from timer_trio.calendar import RuleError, check_rule, instants, next_after
from timer_trio.calendar.zones import zone
from timer_trio.domain.schedule_rule import Bounds, RecurrenceRule

NEW_YORK: Final = "America/New_York"
JUST: Final = timedelta(microseconds=1)

# Of RFC 5545, section 3.8.5.3, those that are daily or coarser, in its order. All begin at nine.
EXAMPLES: Final = [
    ("19970902", "FREQ=DAILY;COUNT=10", "1997 Sep 2 3 4 5 6 7 8 9 10 11"),
    (
        "19970902",
        "FREQ=DAILY;INTERVAL=2",
        "1997 Sep 2 4 6 8 10 12 14 16 18 20 22 24 26 28 30 Oct 2 4 6 8 10 12 14 16 18 20 22 24",
    ),
    ("19970902", "FREQ=DAILY;INTERVAL=10;COUNT=5", "1997 Sep 2 12 22 Oct 2 12"),
    ("19970902", "FREQ=WEEKLY;COUNT=10", "1997 Sep 2 9 16 23 30 Oct 7 14 21 28 Nov 4"),
    (
        "19970902",
        "FREQ=WEEKLY;UNTIL=19971224T000000Z",
        "1997 Sep 2 9 16 23 30 Oct 7 14 21 28 Nov 4 11 18 25 Dec 2 9 16 23",
    ),
    (
        "19970902",
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU",
        "1997 Sep 2 16 30 Oct 14 28 Nov 11 25 Dec 9 23 1998 Jan 6 20 Feb 3",
    ),
    (
        "19970902",
        "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        "1997 Sep 2 4 9 11 16 18 23 25 30 Oct 2",
    ),
    (
        "19970902",
        "FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH",
        "1997 Sep 2 4 9 11 16 18 23 25 30 Oct 2",
    ),
    (
        "19970901",
        "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
        "1997 Sep 1 3 5 15 17 19 29 Oct 1 3 13 15 17 27 29 31 Nov 10 12 14 24 26 28 Dec 8 10 12 22",
    ),
    (
        "19970902",
        "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
        "1997 Sep 2 4 16 18 30 Oct 2 14 16",
    ),
    (
        "19970905",
        "FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
        "1997 Sep 5 Oct 3 Nov 7 Dec 5 1998 Jan 2 Feb 6 Mar 6 Apr 3 May 1 Jun 5",
    ),
    (
        "19970905",
        "FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR",
        "1997 Sep 5 Oct 3 Nov 7 Dec 5",
    ),
    (
        "19970907",
        "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
        "1997 Sep 7 28 Nov 2 30 1998 Jan 4 25 Mar 1 29 May 3 31",
    ),
    (
        "19970922",
        "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO",
        "1997 Sep 22 Oct 20 Nov 17 Dec 22 1998 Jan 19 Feb 16",
    ),
    (
        "19970928",
        "FREQ=MONTHLY;BYMONTHDAY=-3",
        "1997 Sep 28 Oct 29 Nov 28 Dec 29 1998 Jan 29 Feb 26",
    ),
    (
        "19970902",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
        "1997 Sep 2 15 Oct 2 15 Nov 2 15 Dec 2 15 1998 Jan 2 15",
    ),
    (
        "19970930",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
        "1997 Sep 30 Oct 1 31 Nov 1 30 Dec 1 31 1998 Jan 1 31 Feb 1",
    ),
    (
        "19970910",
        "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
        "1997 Sep 10 11 12 13 14 15 1999 Mar 10 11 12 13",
    ),
    (
        "19970902",
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU",
        "1997 Sep 2 9 16 23 30 Nov 4 11 18 25 1998 Jan 6 13 20 27 Mar 3 10 17 24 31",
    ),
    (
        "19970610",
        "FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
        (
            "1997 Jun 10 Jul 10 1998 Jun 10 Jul 10 1999 Jun 10 Jul 10 2000 Jun 10 Jul 10"
            " 2001 Jun 10 Jul 10"
        ),
    ),
    (
        "19970310",
        "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
        "1997 Mar 10 1999 Jan 10 Feb 10 Mar 10 2001 Jan 10 Feb 10 Mar 10 2003 Jan 10 Feb 10 Mar 10",
    ),
    (
        "19970101",
        "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
        "1997 Jan 1 Apr 10 Jul 19 2000 Jan 1 Apr 9 Jul 18 2003 Jan 1 Apr 10 Jul 19 2006 Jan 1",
    ),
    ("19970519", "FREQ=YEARLY;BYDAY=20MO", "1997 May 19 1998 May 18 1999 May 17"),
    ("19970512", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "1997 May 12 1998 May 11 1999 May 17"),
    (
        "19970313",
        "FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
        "1997 Mar 13 20 27 1998 Mar 5 12 19 26 1999 Mar 4 11 18 25",
    ),
    (
        "19970605",
        "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8",
        "1997 Jun 5 12 19 26 Jul 3 10 17 24 31 Aug 7 14 21 28 1998 Jun 4 11 18 25 Jul 2 9 16 23 30",
    ),
    (
        "19970902",  # which is no occurrence, since it does not match
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        "1998 Feb 13 Mar 13 Nov 13 1999 Aug 13 2000 Oct 13",
    ),
    (
        "19970913",
        "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
        "1997 Sep 13 Oct 11 Nov 8 Dec 13 1998 Jan 10 Feb 7 Mar 7 Apr 11 May 9 Jun 13",
    ),
    (
        "19961105",
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        "1996 Nov 5 2000 Nov 7 2004 Nov 2",
    ),
    ("19970904", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "1997 Sep 4 Oct 7 Nov 6"),
    (
        "19970929",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
        "1997 Sep 29 Oct 30 Nov 27 Dec 30 1998 Jan 29 Feb 26 Mar 30",
    ),
    ("19970805", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "1997 Aug 5 10 19 24"),
    ("19970805", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "1997 Aug 5 17 19 31"),
    ("20070115", "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "2007 Jan 15 30 Feb 15 Mar 15 30"),
]


def at_nine(day: str) -> datetime:
    local = datetime.strptime(day + "09", "%Y%m%d%H")  # noqa: DTZ007 - a reading of a clock
    return local.replace(tzinfo=zone(NEW_YORK)).astimezone(UTC)


def bounds(start: datetime, end: datetime | None = None) -> Bounds:
    return Bounds(anchor=start, starts_at_anchor=True, end_at=end)


def days(text: str) -> list[datetime]:
    found, year, month = [], "", ""
    for word in text.split():
        if word.isalpha():
            month = word
        elif len(word) == 4:
            year = word
        else:
            on = datetime.strptime(f"{year} {month} {word}", "%Y %b %d")  # noqa: DTZ007
            found.append(at_nine(f"{on:%Y%m%d}"))
    return found


def some(start: datetime, text: str, count: int, name: str = NEW_YORK) -> list[datetime]:
    rule = RecurrenceRule(text=text, timezone=name)
    return list(islice(instants(rule, bounds(start), start - JUST), count))


@pytest.mark.parametrize(("start", "text", "expected"), EXAMPLES)
def test_rfc_5545_examples(start: str, text: str, expected: str) -> None:
    dates = days(expected)
    more = 1 if "COUNT" in text or "UNTIL" in text else 0
    assert some(at_nine(start), text, len(dates) + more) == dates


def test_rfc_5545_every_day_until_christmas() -> None:
    found = some(at_nine("19970902"), "FREQ=DAILY;UNTIL=19971224T000000Z", 1_000)
    assert len(found) == 113
    assert (found[0], found[-1]) == (at_nine("19970902"), at_nine("19971223"))


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA",
        "FREQ=DAILY;UNTIL=20000131T140000Z;BYMONTH=1",
    ],
)
def test_rfc_5545_every_day_of_january(text: str) -> None:
    years = (1998, 1999, 2000)
    expected = [at_nine(f"{year}01{day:02}") for year in years for day in range(1, 32)]
    assert some(at_nine("19980101"), text, 1_000) == expected


def test_rfc_5545_every_twenty_minutes_of_a_working_day() -> None:
    text = "FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40"
    first, second = at_nine("19970902"), at_nine("19970903")
    each = timedelta(minutes=20)
    expected = [start + number * each for start in (first, second) for number in range(24)]
    assert some(first, text, 48) == expected


# What RFC 5545 leaves to us.


def test_a_week_number_without_a_day_is_on_the_weekday_of_the_start() -> None:
    found = some(at_nine("19970513"), "FREQ=YEARLY;BYWEEKNO=20", 3)
    assert found == days("1997 May 13 1998 May 12 1999 May 18")


def test_plain_and_numbered_weekdays_add_up() -> None:
    found = some(at_nine("20260101"), "FREQ=MONTHLY;BYDAY=SU,1MO", 6)
    assert found == days("2026 Jan 4 5 11 18 25 Feb 1")


def test_the_last_week_of_a_year_is_counted_from_its_end() -> None:
    found = some(at_nine("20200101"), "FREQ=YEARLY;BYWEEKNO=-1;BYDAY=MO", 3)
    assert found == days("2020 Dec 28 2021 Dec 27 2022 Dec 26")


@pytest.mark.parametrize("week", [1, 2, 26, 51, 52, 53])
def test_weeks_are_those_of_iso_8601(week: int) -> None:
    text = f"FREQ=YEARLY;BYWEEKNO={week};BYDAY=MO,TU,WE,TH,FR,SA,SU"
    found = [at.date() for at in some(datetime(1980, 1, 1, tzinfo=UTC), text, 300, "UTC")]
    span = (found[-1] - date(1980, 1, 1)).days + 1
    days_of_span = (date(1980, 1, 1) + timedelta(days=number) for number in range(span))
    assert found == [day for day in days_of_span if day.isocalendar().week == week]


@pytest.mark.parametrize("until", ["20260103", "20260103T090000", "20260103T140000Z"])
def test_until_is_a_day_a_reading_or_an_instant_and_belongs_to_it(until: str) -> None:
    found = some(at_nine("20260101"), f"FREQ=DAILY;UNTIL={until}", 9)
    assert found == days("2026 Jan 1 2 3")


@pytest.mark.parametrize("until", ["20260103T085959", "20260103T135959Z", "20260102"])
def test_nothing_is_after_until(until: str) -> None:
    assert some(at_nine("20260101"), f"FREQ=DAILY;UNTIL={until}", 9) == days("2026 Jan 1 2")


def test_count_counts_from_the_start_wherever_one_looks_from() -> None:
    rule = RecurrenceRule(text="FREQ=DAILY;COUNT=5000", timezone="UTC")
    start = datetime(2010, 1, 1, tzinfo=UTC)
    last = start + timedelta(days=4_999)
    assert next_after(rule, bounds(start), last - timedelta(days=1)) == last
    assert next_after(rule, bounds(start), last) is None


def test_a_skipped_reading_moves_to_the_first_that_exists_and_a_double_one_counts_once() -> None:
    text = "FREQ=DAILY;BYHOUR=2;BYMINUTE=0,30"
    spring = some(datetime(2026, 3, 29, tzinfo=UTC), text, 2, "Europe/Berlin")
    assert spring == [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)]
    autumn = some(datetime(2026, 10, 25, tzinfo=UTC), text, 3, "Europe/Berlin")
    assert autumn == [
        datetime(2026, 10, 25, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, tzinfo=UTC),
    ]


def test_a_start_between_two_seconds_counts_from_the_next_one() -> None:
    start = datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)
    assert some(start, "FREQ=DAILY", 1) == [datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)]


# What dateutil makes of the same rules. Left out is what it does otherwise: week numbers from the
# end or without a day, and those at the edges of a year, which it counts by the length of the wrong
# year; plain weekdays beside numbered ones; and the first week of BYSETPOS.

WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def numbers(*among: int) -> st.SearchStrategy[str]:
    listed = st.lists(st.sampled_from(among), min_size=1, max_size=4, unique=True)
    return listed.map(lambda chosen: ",".join(map(str, chosen)))


def of_days(*prefixes: str) -> st.SearchStrategy[str]:
    names = [prefix + name for prefix in prefixes for name in WEEKDAYS]
    return st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True).map(",".join)


MONTH_DAYS: Final = numbers(*range(1, 32), *range(-31, 0))
COMMON: Final = {
    "INTERVAL": st.integers(1, 6).map(str),
    "WKST": st.sampled_from(WEEKDAYS),
    "BYMONTH": numbers(*range(1, 13)),
    "BYHOUR": numbers(*range(24)),
    "BYMINUTE": numbers(*range(60)),
    "BYSECOND": numbers(*range(60)),
}
BY_FREQUENCY: Final = {
    "DAILY": {"BYDAY": of_days(""), "BYMONTHDAY": MONTH_DAYS},
    "WEEKLY": {"BYDAY": of_days("")},
    "MONTHLY": {"BYDAY": of_days("") | of_days("1", "2", "-1"), "BYMONTHDAY": MONTH_DAYS},
    "YEARLY": {
        "BYDAY": of_days("") | of_days("1", "5", "20", "-1", "-53"),
        "BYMONTHDAY": MONTH_DAYS,
        "BYYEARDAY": numbers(*range(1, 367), *range(-366, 0)),
    },
}
WEEKS: Final = st.fixed_dictionaries(
    {"BYWEEKNO": numbers(*range(2, 52)), "BYDAY": of_days("")},
    optional={"BYMONTH": COMMON["BYMONTH"], "INTERVAL": COMMON["INTERVAL"], "WKST": COMMON["WKST"]},
)


@st.composite
def rules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from(sorted(BY_FREQUENCY)))
    parts = draw(st.fixed_dictionaries({}, optional=COMMON | BY_FREQUENCY[frequency]))
    if frequency == "YEARLY" and draw(st.booleans()):
        parts = draw(WEEKS)
    if any(name.startswith("BY") for name in parts) and draw(st.booleans()):
        parts["BYSETPOS"] = draw(numbers(*range(1, 9), *range(-8, 0)))
    return ";".join(f"{name}={value}" for name, value in {"FREQ": frequency, **parts}.items())


# The same rules each time: the judge has faults of its own, which other rules may find.
@settings(deadline=None, derandomize=True)
@given(
    rules(),
    st.datetimes(datetime(1971, 1, 1), datetime(2060, 1, 1)),  # noqa: DTZ001
)
def test_dateutil_finds_the_same(text: str, start: datetime) -> None:
    start = start.replace(microsecond=0)
    # Of the week in which it starts dateutil numbers but the days from DTSTART on.
    is_numbered_week = "WEEKLY" in text and "BYSETPOS" in text
    since = start + timedelta(days=7) if is_numbered_week else start - timedelta(seconds=1)
    rule = RecurrenceRule(text=text, timezone="UTC")
    begin = bounds(start.replace(tzinfo=UTC))
    found = list(islice(instants(rule, begin, since.replace(tzinfo=UTC)), 20))
    assume(len(found) == 20)  # dateutil looks for more up to the year 9999
    try:
        expected = [*rrulestr(text, dtstart=start).xafter(since, count=20)]
    except IndexError:
        reject()  # dateutil's own: it looks for a week beyond the year's end
    assert found == [at.replace(tzinfo=UTC) for at in expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has an empty part"),
        ("FREQ=DAILY;", "has an empty part"),
        ("BYDAY=MO", "must have a FREQ: DAILY, WEEKLY, MONTHLY or YEARLY"),
        ("FREQ=NEVER", "must have a FREQ: DAILY"),
        ("FREQ=HOURLY", "DAILY or coarser"),
        ("FREQ=DAILY;FREQ=DAILY", "must have FREQ only once"),
        ("RRULE:FREQ=DAILY", "the value of one RRULE"),
        ("FREQ=DAILY;BYEASTER=0", "the value of one RRULE"),
        ("FREQ=DAILY\nEXDATE:20260101", "must have a FREQ"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20260101", "both COUNT and UNTIL"),
        ("FREQ=DAILY;COUNT=0", "as COUNT"),
        ("FREQ=DAILY;COUNT=+1", "as COUNT"),
        ("FREQ=DAILY;COUNT=9999999999", "as COUNT"),
        ("FREQ=DAILY;INTERVAL=0", "as INTERVAL"),
        ("FREQ=DAILY;INTERVAL=1.5", "as INTERVAL"),
        ("FREQ=DAILY;UNTIL=2026", "as UNTIL"),
        ("FREQ=DAILY;UNTIL=20260230", "as UNTIL"),
        ("FREQ=DAILY;WKST=XX", "as WKST"),
        ("FREQ=DAILY;BYDAY=1MO", "number a day of BYDAY"),
        ("FREQ=YEARLY;BYWEEKNO=1;BYDAY=1MO", "number a day of BYDAY"),
        ("FREQ=YEARLY;BYDAY=54MO", "as BYDAY"),
        ("FREQ=YEARLY;BYDAY=0MO", "as BYDAY"),
        ("FREQ=WEEKLY;BYDAY=", "as BYDAY"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY with FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY with FREQ=MONTHLY"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO with FREQ=MONTHLY"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "as BYMONTHDAY"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "as BYMONTHDAY"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,,2", "as BYMONTHDAY"),
        ("FREQ=DAILY;BYSECOND=60", "as BYSECOND"),
        ("FREQ=DAILY;BYHOUR=-1", "as BYHOUR"),
        ("FREQ=DAILY;BYMONTH=٣", "as BYMONTH"),
        ("FREQ=DAILY;BYSETPOS=1", "without another BY part"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "never matches"),
        ("FREQ=DAILY;BYHOUR=1;BYSETPOS=2", "never matches"),
        ("FREQ=DAILY;UNTIL=20251231", "never matches.* by its UNTIL"),
        ("FREQ=YEARLY;COUNT=60", "within 50 years"),
        ("FREQ=DAILY;BYHOUR=" + "1," * 3_000, "at most 4000 characters"),
    ],
)
def test_what_is_wrong_with_an_rrule_is_said_in_words(text: str, words: str) -> None:
    rule = RecurrenceRule(text=text, timezone="UTC")
    with pytest.raises(RuleError, match=words) as raised:
        check_rule(rule, bounds(datetime(2026, 1, 1, tzinfo=UTC)))
    assert raised.value.field == "rrule"
