"""What the failover scenarios find fault with: a book without any, and then one of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random

from tests.acceptance.client import Consumer
from tests.acceptance.load import Load, Promise
from tests.acceptance.receiver import Arrival
from tests.chaos.aftermath import Aftermath
from tests.chaos.book import Asked, Book, Row
from tests.chaos.pair import Failover
from tests.chaos.report import Figure, Verdict

ID = "019bd3c0-0000-7000-8000-000000000001"
GONE_S = 1_000_000.0
KEPT_S = GONE_S - 1.0
FAILOVER = Failover("killed", GONE_S, GONE_S + 2.0, KEPT_S)
LONG_AGO_S = KEPT_S - 60.0
COMPLETED = Row(ID, "completed", "at_least_once", 1, None, GONE_S, None)
STUCK = Row(ID, "executing", "at_least_once", 1, "replica", None, None)


def arrival(at_s: float) -> Arrival:
    scheduled = datetime.fromtimestamp(at_s - 0.01, UTC).isoformat()
    headers = {"x-timer-id": ID, "x-timer-attempt": "1", "x-timer-scheduled-at": scheduled}
    return Arrival(at_s, "/", headers | {"webhook-id": ID}, "7")


def figures(
    *sent_s: float,
    known_s: float = LONG_AGO_S,
    row: Row | None = COMPLETED,
    promises: Mapping[str, Promise] | None = None,
    synchronous: bool = False,
) -> Sequence[Figure]:
    asked = {} if promises else {ID: Asked(7, known_s + 1, "at_least_once", "a", known_s)}
    book = Book(asked, [*map(arrival, sent_s)], {} if row is None else {ID: row})
    load = Load(Consumer(""), "", Random(1), promises=dict(promises or {}))
    told = {**{i: a.known_s for i, a in asked.items()}, **dict.fromkeys(load.promises, known_s)}
    aftermath = Aftermath(book, load, [], [FAILOVER], [], None, told)
    return aftermath.figures(synchronous=synchronous, resumed={})


def missed(found: Sequence[Figure]) -> list[str]:
    return [figure.figure for figure in found if figure.verdict is Verdict.MISSED]


def value_of(found: Sequence[Figure], name: str) -> float | None:
    return next(figure.value for figure in found if figure.figure == name)


def test_failover_that_leaves_nothing_behind_is_found_without_fault() -> None:
    assert missed(figures(LONG_AGO_S + 1)) == []
    assert missed(figures(LONG_AGO_S + 1, synchronous=True)) == []


def test_synchronous_standby_is_excused_nothing() -> None:
    assert "acknowledged, and lost" in missed(figures(row=None, synchronous=True))
    lost = figures(row=None, known_s=GONE_S - 0.5, synchronous=True)
    assert "acknowledged, and lost" in missed(lost)
    doubled = figures(GONE_S - 0.1, GONE_S + 3, synchronous=True)
    assert missed(doubled) == ["timers sent twice"]


def test_asynchronous_standby_is_excused_what_it_had_not_received_alone() -> None:
    fresh = figures(row=None, known_s=GONE_S - 0.5)
    assert missed(fresh) == []
    assert value_of(fresh, "of them lost") == 1
    assert value_of(fresh, "of the lost never fired") == 1
    assert "lost, though received" in missed(figures(row=None))


def test_only_what_was_in_flight_may_be_sent_again() -> None:
    assert missed(figures(GONE_S - 0.1, GONE_S + 3)) == []
    assert missed(figures(LONG_AGO_S, GONE_S + 3)) == ["sent twice, not in flight"]
    assert missed(figures(GONE_S + 5, GONE_S + 6)) == ["sent twice, not in flight"]


def test_cancel_may_be_undone_only_if_the_standby_had_not_received_it() -> None:
    fresh = Promise({7}, LONG_AGO_S, changed_at=GONE_S - 0.5, canceled=True)
    undone = figures(GONE_S + 3, promises={ID: fresh})
    assert missed(undone) == []
    assert value_of(undone, "promises broken, not received") == 1
    old = Promise({7}, LONG_AGO_S, changed_at=LONG_AGO_S + 1, canceled=True)
    assert missed(figures(GONE_S + 3, promises={ID: old})) == ["promises broken, though received"]


def test_silence_is_told_from_the_last_callback_to_the_next() -> None:
    silent = figures(GONE_S - 9, GONE_S - 0.5, GONE_S + 3, GONE_S + 60, synchronous=True)
    assert value_of(silent, "longest time without a callback") == 3_500
    assert value_of(figures(), "longest time without a callback") == float("inf")


def test_nothing_may_be_stuck() -> None:
    assert "timers that are stuck" in missed(figures(LONG_AGO_S + 1, row=STUCK))
