"""Each check of the chaos suite can fail: a book without fault, and then with one of its own."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest

from tests.acceptance.client import Consumer
from tests.acceptance.load import Load, Promise
from tests.acceptance.receiver import Arrival
from tests.chaos import checks
from tests.chaos.book import Asked, Book, Row
from tests.chaos.members import NOTICED_S, Members
from tests.chaos.proxy import Frames, verb_of
from tests.chaos.report import Figure, Report, Section, Verdict, late, none_of
from tests.chaos.takeover import Crash, bystanders, latest_s, overdue
from timer_trio.storage.postgres.queries import QUERIES

DUE_S = 1_000_000.0
ID = "019bd3c0-0000-7000-8000-000000000001"
OTHER = "019bd3c0-0000-7000-8000-000000000002"
HELD = Row(ID, "executing", "at_least_once", 1, "replica", None, None)
FREED = replace(HELD, claimed_by=None)
COMPLETED = replace(FREED, status="completed", executed_s=DUE_S)
UNKNOWN = replace(FREED, status="failed", attempt=2, last_error="outcome unknown: it died")


def arrival(
    timer_id: str = ID, late_s: float = 0.01, attempt: int = 1, due_s: float = DUE_S
) -> Arrival:
    headers = {
        "x-timer-id": timer_id,
        "x-timer-attempt": str(attempt),
        "x-timer-scheduled-at": datetime.fromtimestamp(due_s, UTC).isoformat(),
        "webhook-id": timer_id,
    }
    return Arrival(due_s + late_s, "/", headers, "7")


def book(*arrivals: Arrival, row: Row | None = COMPLETED, delivery: str = "at_least_once") -> Book:
    rows = {} if row is None else {ID: replace(row, delivery=delivery)}
    asked = {ID: Asked(7, DUE_S, delivery, "a", DUE_S - 1)}
    return Book(asked, arrivals or (arrival(),), rows)


def found(violations: Iterable[str]) -> int:
    return len(list(violations))


def test_book_without_fault_is_found_without_fault() -> None:
    whole = book()
    for check in (checks.early, checks.unfinished, checks.silent, checks.doubled, checks.renamed):
        assert found(check(whole)) == 0
    assert found(checks.doubled_once_only(book(delivery="at_most_once"))) == 0
    assert found(checks.sent_after_sweep(whole, {ID: HELD}, DUE_S + 4)) == 0
    assert found(checks.sent_while_out(whole.arrivals, {(ID, 1)}, DUE_S + 4, DUE_S + 9)) == 0


def test_early_callback_is_found() -> None:
    assert found(checks.early(book(arrival(late_s=-0.001)))) == 1


@pytest.mark.parametrize("row", [None, HELD, replace(FREED, status="pending")])
def test_timer_that_never_ended_is_found(row: Row | None) -> None:
    assert found(checks.unfinished(book(row=row))) == 1


def test_timer_that_failed_without_a_word_is_found() -> None:
    assert found(checks.unfinished(book(row=replace(UNKNOWN, last_error=None)))) == 1
    assert found(checks.unfinished(book(row=UNKNOWN))) == 0


def test_timer_that_never_fired_is_found() -> None:
    assert found(checks.silent(book(arrival(OTHER)))) == 1


def test_timer_that_failed_without_need_is_found() -> None:
    assert found(checks.silent(book(row=replace(UNKNOWN, last_error="HTTP 500")), {ID})) == 1


def test_unknown_outcome_is_excused_in_doubt_alone_and_of_at_most_once_alone() -> None:
    assert found(checks.silent(book(row=UNKNOWN, delivery="at_most_once"), {ID})) == 0
    assert found(checks.silent(book(row=UNKNOWN, delivery="at_most_once"))) == 1
    assert found(checks.silent(book(row=UNKNOWN), {ID})) == 1


def test_double_is_found_unless_it_was_in_doubt() -> None:
    twice = book(arrival(), arrival(late_s=5, attempt=2))
    assert found(checks.doubled(twice)) == 1
    assert found(checks.doubled(twice, {OTHER})) == 1
    assert found(checks.doubled(twice, {ID})) == 0


def test_double_of_at_most_once_is_never_excused() -> None:
    twice = (arrival(), arrival(late_s=5, attempt=2))
    assert found(checks.doubled_once_only(book(*twice, delivery="at_most_once"))) == 1
    assert found(checks.doubled_once_only(book(*twice))) == 0


def test_changed_webhook_id_is_found() -> None:
    changed = arrival()
    changed.headers["webhook-id"] = OTHER
    assert found(checks.renamed(book(changed))) == 1


def test_what_was_sent_only_after_an_instant_is_not_in_doubt_then() -> None:
    assert checks.sent_by_then(book(), {ID, OTHER}, DUE_S + 1) == {ID}
    assert checks.sent_by_then(book(), {ID, OTHER}, DUE_S) == set()


def test_lateness_counts_from_the_later_of_instant_and_acknowledgement() -> None:
    twice = book(arrival(late_s=0.25), arrival(late_s=5, attempt=2))
    assert checks.first_late_ms(twice, {ID}) == pytest.approx([250])
    assert checks.last_late_ms(twice, {ID}) == pytest.approx([5_000])
    twice.asked[ID] = replace(twice.asked[ID], known_s=DUE_S + 4)
    assert checks.last_late_ms(twice, {ID}) == pytest.approx([1_000])
    assert checks.late_since_known_ms(book(), {ID: DUE_S - 1}) == pytest.approx([10])
    assert checks.late_beyond_ms([30, 120], 15) == 105


def test_timers_are_told_apart_by_their_creator_and_instant() -> None:
    whole = book()
    assert (checks.asked_of(whole, {"a"}), checks.asked_of(whole, {"b"})) == ({ID}, set())
    assert checks.due_between(whole.asked, DUE_S, DUE_S + 1) == {ID}
    assert checks.due_between(whole.asked, DUE_S - 1, DUE_S) == set()


def test_send_after_the_sweep_is_found_and_the_next_attempt_is_not_one() -> None:
    after = book(arrival(late_s=5))
    assert found(checks.sent_after_sweep(after, {ID: HELD}, DUE_S + 4)) == 1
    assert found(checks.sent_after_sweep(after, {OTHER: HELD}, DUE_S + 4)) == 0
    taken_over = book(arrival(late_s=5, attempt=2))
    assert found(checks.sent_after_sweep(taken_over, {ID: HELD}, DUE_S + 4)) == 0


def test_send_between_sweep_and_return_is_found() -> None:
    arrivals = [arrival(late_s=5)]
    assert found(checks.sent_while_out(arrivals, {(ID, 1)}, DUE_S + 4, DUE_S + 9)) == 1
    assert found(checks.sent_while_out(arrivals, {(ID, 2)}, DUE_S + 4, DUE_S + 9)) == 0
    assert found(checks.sent_while_out(arrivals, {(ID, 1)}, DUE_S + 4, DUE_S + 4.5)) == 0


def test_late_outcome_that_changes_what_others_claimed_is_found() -> None:
    taken_over = replace(COMPLETED, attempt=2)
    for before in (taken_over, replace(UNKNOWN, attempt=1)):
        assert found(checks.overwritten({ID: HELD}, {ID: before}, {ID: before})) == 0
        assert found(checks.overwritten({ID: HELD}, {ID: before}, {ID: COMPLETED})) == 1


def test_late_outcome_that_does_not_count_is_found() -> None:
    whole, held, before = book(), {ID: HELD}, {ID: FREED}
    assert checks.unclaimed(whole, held, before) == {ID}
    assert checks.unclaimed(whole, held, {ID: COMPLETED}) == set()
    assert found(checks.uncounted(whole, held, before, {ID: COMPLETED})) == 0
    assert found(checks.uncounted(whole, held, before, before)) == 1
    again = {ID: replace(COMPLETED, attempt=2)}
    assert found(checks.uncounted(whole, held, before, again)) == 1


def test_firing_resumes_with_the_first_timer_that_needed_the_database() -> None:
    claimed_before = arrival(late_s=6)
    needed = arrival(OTHER, late_s=3, due_s=DUE_S + 5)
    arrivals = [claimed_before, needed]
    assert checks.resumed_s(arrivals, DUE_S + 1, DUE_S + 5.5) == pytest.approx(2.5)
    assert checks.resumed_s([claimed_before], DUE_S + 1, DUE_S + 5.5) == float("inf")


def test_overdue_ones_out_of_order_are_found() -> None:
    due = [arrival(late_s=9, due_s=DUE_S + i) for i in range(5)]
    assert checks.most_overtaken(due) == 0
    assert checks.most_overtaken([*due[1:], due[0]]) == 4
    own = {(ID, 1)}
    assert len(checks.overdue(due, own, DUE_S + 1.5, DUE_S + 8)) == 3
    assert checks.overdue(due, {(ID, 2)}, DUE_S + 1.5, DUE_S + 8) == []


@pytest.mark.parametrize(
    ("promise", "payloads"),
    [
        (Promise({7}, canceled=True), {ID: 7}),
        (Promise({7}), {}),
        (Promise({-7}), {ID: 7}),
    ],
)
def test_broken_promise_to_a_consumer_is_found(promise: Promise, payloads: dict[str, int]) -> None:
    load = Load(Consumer("key"), "http://x", Random(1), promises={ID: promise})
    assert found(load.broken_promises(payloads)) == 1


@pytest.mark.parametrize(
    ("promise", "payloads"),
    [
        (Promise({7}), {ID: 7}),
        (Promise({7}, canceled=True), {}),
        (Promise({7}, cancel_in_doubt=True), {}),
        (Promise({7, -7}), {ID: -7}),
    ],
)
def test_kept_promise_to_a_consumer_is_none_broken(
    promise: Promise, payloads: dict[str, int]
) -> None:
    load = Load(Consumer("key"), "http://x", Random(1), promises={ID: promise})
    assert found(load.broken_promises(payloads)) == 0


def test_figures_are_held_against_their_goals() -> None:
    assert none_of("x", "y", []).verdict is Verdict.REACHED
    assert none_of("x", "y", ["z"]).verdict is Verdict.MISSED
    assert Figure("x", "y", 0, at_least=1).verdict is Verdict.MISSED
    assert Figure("x", "y", float("inf"), "s", 2).verdict is Verdict.MISSED
    assert Figure("x", "y", 3).verdict is Verdict.TOLD
    assert late("x", "y", 90, 100, is_starved=True).verdict is Verdict.REACHED
    assert late("x", "y", 110, 100, is_starved=False).verdict is Verdict.MISSED
    assert late("x", "y", 110, 100, is_starved=True).verdict is Verdict.NOT_RUN


def test_wait_for_a_processor_excuses_no_lateness_but_makes_it_tell_nothing() -> None:
    busy, calm = Book(waited_ms=401), Book(waited_ms=399)
    assert (busy.is_starved, calm.is_starved) == (True, False)
    assert checks.late_beyond_ms([500], busy.machine_ms) == 500


def test_what_was_not_run_counts_as_neither_reached_nor_missed() -> None:
    absent = Figure("x", "not run", None, details=["no library"])
    report = Report(1, [Section("a", [absent]), Section("b", broke="why"), Section("c")])
    assert report.summary() == "Of 3 scenarios: 1 reached, 1 missed, 1 not run."
    assert "| a | x | not run | no library |" in report.markdown()


def test_section_with_a_missed_goal_is_missed_whatever_was_not_run() -> None:
    absent = Figure("x", "not run", None)
    assert Section("a", [absent, none_of("x", "y", ["z"])]).verdict is Verdict.MISSED


def test_messages_are_cut_out_of_any_pieces() -> None:
    opening = struct.pack("!II", 8, 196_608)
    parse = b"P" + struct.pack("!I", 4 + 4) + b"n\0q\0"
    frames = Frames(is_typed=False)
    cut = []
    for byte in opening + parse + parse:
        for message in frames.feed(bytes([byte])):
            cut.append(message)
            frames.is_typed = True
    assert cut == [(b"", opening), (b"P", parse), (b"P", parse)]


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        (
            "claim",
            [
                "claim",
                "claim_occurrences",
                "claim_in_flows",
                "claim_occurrences_in_flows",
                "claim_unlocked",
                "claim_occurrences_unlocked",
                "claim_in_flows_unlocked",
                "claim_occurrences_in_flows_unlocked",
            ],
        ),
        (
            "settle",
            ["settle", "settle_whole", "settle_unlocked", "settle_whole_unlocked"],
        ),
        ("sweep", ["sweep"]),
    ],
)
def test_statements_are_recognised_by_their_beginning(verb: str, forms: list[str]) -> None:
    assert [name for name in QUERIES if verb_of(QUERIES[name]) == verb] == forms


def crash(name: str = "b", since_s: float = -1.0, shards: Iterable[int] = ()) -> Crash:
    """Let a replica die so long after the timer's instant."""
    began_s = DUE_S + since_s
    return Crash(name, "replica", began_s, began_s + 6.0, frozenset(), frozenset(shards))


def waits_s(*crashes: Crash) -> float:
    """How long the timer, which was asked of replica a, may be late because of these."""
    asked = Asked(0, DUE_S, "at_least_once", "a", DUE_S - 5)
    return latest_s(ID, asked, crashes) - DUE_S


def test_crash_excuses_what_the_victim_had_in_hand_and_nothing_else() -> None:
    assert waits_s(crash("b")) == 0.0
    assert waits_s(crash("a")) == 5.0
    assert waits_s(crash("b", shards={1})) == 5.0
    assert waits_s(replace(crash("b"), held=frozenset({ID}))) == 5.0


def test_crash_that_was_over_or_came_later_excuses_nothing() -> None:
    assert waits_s(crash("a", -6.5)) == 0.0
    assert waits_s(crash("a", 1.5)) == 0.0


def test_crash_of_an_heir_adds_up() -> None:
    assert waits_s(crash("a"), crash("b", 4.0)) == 10.0
    assert waits_s(crash("a"), crash("b", 6.5)) == 5.0


def test_timer_that_is_later_than_its_crashes_excuse_is_found() -> None:
    book = Book(asked={ID: Asked(0, DUE_S, "at_least_once", "a", DUE_S - 5)})
    assert bystanders(book, [crash("b")]) == {ID}
    assert bystanders(book, [crash("a")]) == set()
    book.arrivals = [arrival(late_s=5.5)]
    assert not list(overdue(book, {ID}, [crash("a")], 1.0))
    assert list(overdue(book, {ID}, [crash("a")], 0.1))


def test_shards_that_fell_to_a_replica_while_it_was_dead_were_its_own() -> None:
    one, more = frozenset({1}), frozenset({1, 2})
    members = Members([(0.0, {"a": one}), (10.0, {"a": more}), (12.0, {"b": more})])
    assert members.owned("a", 5.0, 11.0) == more
    assert members.owned("a", 5.0, 9.0) == one
    assert members.owned("a", 12.0 + NOTICED_S / 2, 20.0) == more
    assert members.owned("a", 13.0 + NOTICED_S, 20.0) == set()
