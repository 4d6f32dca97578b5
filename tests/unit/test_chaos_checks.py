"""The checks of the chaos suite, each held against a book in which just its promise is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.acceptance.receiver import Arrival
from tests.chaos import checks
from tests.chaos.book import Asked, Book, Row

DUE_S = 1_000_000.0
ROW = Row("a", "completed", "at_least_once", 1, None, DUE_S, None)


def arrival(timer_id: str, late_s: float = 0.0, attempt: int = 1, name: str = "") -> Arrival:
    headers = {
        "x-timer-id": timer_id,
        "x-timer-attempt": str(attempt),
        "x-timer-scheduled-at": "1970-01-12T13:46:40Z",
        "webhook-id": name or timer_id,
    }
    return Arrival(DUE_S + late_s, "/", headers, "1")


def asked(delivery: str = "at_least_once") -> Asked:
    return Asked(1, DUE_S, delivery, "a", DUE_S - 1)


def sound() -> Book:
    """Two timers that each fired on time, once."""
    return Book(
        asked={"a": asked(), "b": asked("at_most_once")},
        arrivals=[arrival("a"), arrival("b")],
        rows={"a": ROW, "b": replace(ROW, timer_id="b", delivery="at_most_once")},
    )


Check = Callable[[Book], Iterator[str]]
ALL: tuple[Check, ...] = (
    checks.early,
    checks.unfinished,
    checks.silent,
    checks.doubled,
    checks.doubled_once_only,
    checks.renamed,
)


@pytest.mark.parametrize("check", ALL)
def test_sound_book_breaks_no_promise(check: Check) -> None:
    assert list(check(sound())) == []


@pytest.mark.parametrize(
    ("check", "arrivals"),
    [
        (checks.early, [arrival("a", -0.001), arrival("b")]),
        (checks.silent, [arrival("a")]),
        (checks.doubled, [arrival("a"), arrival("a", 5.0, 2), arrival("b")]),
        (checks.doubled_once_only, [arrival("b"), arrival("b", 5.0, 2)]),
        (checks.renamed, [arrival("a", name="x")]),
    ],
)
def test_wrong_arrivals_are_found(check: Check, arrivals: list[Arrival]) -> None:
    book = sound()
    book.arrivals = arrivals
    assert len(list(check(book))) == 1


def test_timer_that_never_ended_or_is_lost_is_found() -> None:
    book = sound()
    book.rows = {"a": replace(ROW, status="executing")}
    assert len(list(checks.unfinished(book))) == 2


def test_double_is_excused_only_for_what_was_in_doubt() -> None:
    book = sound()
    book.arrivals = [arrival("a"), arrival("a", 5.0, 2), arrival("b")]
    assert list(checks.doubled(book, {"a"})) == []
    assert len(list(checks.doubled(book, {"b"}))) == 1


def test_what_was_sent_after_the_sweep_is_found() -> None:
    book = sound()
    assert list(checks.sent_after_sweep(book, {"a": ROW}, DUE_S + 1)) == []
    assert len(list(checks.sent_after_sweep(book, {"a": ROW}, DUE_S - 1))) == 1
    own = {("a", 1)}
    assert list(checks.sent_while_out(book.arrivals, own, DUE_S + 1, DUE_S + 2)) == []
    assert len(list(checks.sent_while_out(book.arrivals, own, DUE_S - 1, DUE_S + 1))) == 1


def test_late_outcome_that_changes_a_reclaimed_timer_is_found() -> None:
    held = {"a": replace(ROW, status="executing")}
    reclaimed = {"a": replace(ROW, attempt=2)}
    assert list(checks.overwritten(held, reclaimed, reclaimed)) == []
    changed = {"a": replace(ROW, attempt=2, status="failed")}
    assert len(list(checks.overwritten(held, reclaimed, changed))) == 1


def test_late_outcome_that_does_not_count_is_found() -> None:
    book = sound()
    held = {"a": replace(ROW, status="executing", claimed_by="x")}
    freed = {"a": replace(ROW, status="executing")}
    assert list(checks.uncounted(book, held, freed, {"a": ROW})) == []
    assert len(list(checks.uncounted(book, held, freed, freed))) == 1


def test_lateness_counts_from_the_instant_and_beyond_the_machine() -> None:
    book = sound()
    book.arrivals = [arrival("a", 0.25), arrival("b", 0.1)]
    assert checks.late_beyond_ms(checks.last_late_ms(book, {"a"}), 50.0) == pytest.approx(200.0)


def test_firing_that_resumes_late_is_told() -> None:
    after = [arrival("a", 3.0), arrival("b", 4.0)]
    assert checks.resumed_s(after, DUE_S - 1, DUE_S + 1) == pytest.approx(2.0)
    assert checks.resumed_s([], DUE_S - 1, DUE_S + 1) == float("inf")
