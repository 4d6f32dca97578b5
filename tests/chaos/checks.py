"""What must hold, as plain functions over a book: each names what broke it, or tells a figure.

What simulated replicas are held to as well is in tests/promises.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, pairwise

from tests import promises
from tests.acceptance.receiver import Arrival
from tests.chaos.book import Asked, Book, Row
from tests.promises import Ending, Sent


def early(book: Book) -> Iterator[str]:
    """Nobody was called before the instant."""
    return promises.never_early(sent_of(book))


def unfinished(book: Book) -> Iterator[str]:
    """Every timer that was acknowledged is there, and has ended."""
    return promises.all_ended(
        {timer_id: ending_of(book.rows.get(timer_id)) for timer_id in book.asked}
    )


def stuck(book: Book) -> Iterator[str]:
    """Every timer in the database has ended, whether its creation was answered or not."""
    for timer_id, row in book.rows.items():
        if not row.has_ended:
            yield f"{timer_id} is stuck: {row}"


def silent(book: Book, in_doubt: AbstractSet[str] = frozenset()) -> Iterator[str]:
    """Every timer has fired, and is completed: receivers here are healthy, and nobody cancels.

    Of those in doubt, one that may be sent once has failed instead, with words, and it may be that
    nobody has heard of it.
    """
    fired = book.by_timer()
    for timer_id, asked in book.asked.items():
        row = book.rows.get(timer_id)
        if timer_id in in_doubt and asked.delivery == "at_most_once" and row and row.is_unknown:
            continue
        if timer_id not in fired:
            yield f"{timer_id} has not fired: {row}"
        elif row is None or row.status != "completed":
            yield f"{timer_id} is not completed: {row}"


def doubled(book: Book, excused: AbstractSet[str] = frozenset()) -> Iterator[str]:
    """No timer was sent again, but those whose outcome nobody could know.

    Who sent what no receiver can tell, so the excused timers are told by their ids.
    """
    return promises.sent_again_with_excuse(
        sent_of(book), lambda _, again: again.timer_id in excused
    )


def doubled_once_only(book: Book) -> Iterator[str]:
    """What may be sent at most once is."""
    return promises.at_most_once(sent_of(book))


def renamed(book: Book) -> Iterator[str]:
    """Every attempt of a timer carries the same webhook-id."""
    return promises.one_webhook_id(sent_of(book))


def sent_of(book: Book) -> dict[str, list[Sent]]:
    """What was sent of each timer, as it arrived: later than it was sent, by the same clock."""
    once = {timer_id for timer_id, row in book.rows.items() if row.delivery == "at_most_once"}
    return {
        timer_id: [_sent(arrival, is_once=timer_id in once) for arrival in arrivals]
        for timer_id, arrivals in book.by_timer().items()
    }


def _sent(arrival: Arrival, *, is_once: bool) -> Sent:
    return Sent(
        timer_id=arrival.timer_id,
        webhook_id=arrival.headers["webhook-id"],
        attempt=arrival.attempt,
        due_s=arrival.scheduled_s,
        sent_s=arrival.at,
        is_once=is_once,
    )


def ending_of(row: Row | None) -> Ending:
    return Ending(row.status, row.last_error) if row else Ending(None)


def sent_by_then(book: Book, timer_ids: Collection[str], instant_s: float) -> set[str]:
    """Choose those of these timers that had been sent by an instant."""
    fired = book.by_timer()
    return {
        timer_id
        for timer_id in timer_ids
        if any(arrival.at <= instant_s for arrival in fired.get(timer_id, ()))
    }


def first_late_ms(book: Book, timer_ids: Collection[str]) -> list[float]:
    """Tell how late the first callback of each of these timers was."""
    return _late_ms(book, timer_ids, 0)


def last_late_ms(book: Book, timer_ids: Collection[str]) -> list[float]:
    """Tell how late the last callback of each of these timers was."""
    return _late_ms(book, timer_ids, -1)


def _late_ms(book: Book, timer_ids: Collection[str], which: int) -> list[float]:
    fired = book.by_timer()
    return [
        (fired[timer_id][which].at - book.asked[timer_id].expected_s) * 1000
        for timer_id in timer_ids
        if timer_id in fired
    ]


def late_since_known_ms(book: Book, known_s: Mapping[str, float]) -> list[float]:
    """Tell how late the callbacks of timers were, whose creation was answered at these instants."""
    return [
        (arrival.at - max(arrival.scheduled_s, known_s[arrival.timer_id])) * 1000
        for arrival in book.arrivals
        if arrival.timer_id in known_s
    ]


def asked_of(book: Book, names: Collection[str]) -> set[str]:
    """Choose the timers that were created through one of these replicas."""
    return {timer_id for timer_id, asked in book.asked.items() if asked.by in names}


def due_between(asked: Mapping[str, Asked], begin_s: float, end_s: float) -> set[str]:
    return {timer_id for timer_id, each in asked.items() if begin_s <= each.expected_s < end_s}


def sent_after_sweep(book: Book, held: Mapping[str, Row], swept_s: float) -> Iterator[str]:
    """What a replica held when it froze, it did not send after it was swept."""
    for arrival in book.arrivals:
        row = held.get(arrival.timer_id)
        if row and arrival.attempt == row.attempt and arrival.at > swept_s:
            since_s = arrival.at - swept_s
            yield f"{row.timer_id} was sent as attempt {row.attempt}, {since_s:.3f} s after it"


def sent_while_out(
    arrivals: Sequence[Arrival], own: AbstractSet[tuple[str, int]], swept_s: float, joined_s: float
) -> Iterator[str]:
    """A replica sends nothing between the sweep and its return; `own` has (timer, attempt)."""
    for arrival in arrivals:
        is_own = (arrival.timer_id, arrival.attempt) in own
        if is_own and swept_s < arrival.at < joined_s:
            yield f"{arrival.timer_id} was sent {arrival.at - swept_s:.3f} s after the sweep"


def overwritten(
    held: Mapping[str, Row], before: Mapping[str, Row], after: Mapping[str, Row]
) -> Iterator[str]:
    """What somebody else has claimed meanwhile, a late outcome does not change.

    `before` and `after` are the same rows right before the frozen replica went on, and when it has
    written what it had to.
    """
    for timer_id in held:
        row = before[timer_id]
        if is_reclaimed(held[timer_id], row) and row.has_ended and after[timer_id] != row:
            yield f"{timer_id} was {row}, and became {after[timer_id]}"


def uncounted(
    book: Book, held: Mapping[str, Row], before: Mapping[str, Row], after: Mapping[str, Row]
) -> Iterator[str]:
    """What nobody has claimed meanwhile, and was sent, ends by its late outcome."""
    for timer_id in unclaimed(book, held, before):
        row = after[timer_id]
        if row.status != "completed" or row.attempt != held[timer_id].attempt:
            yield f"{timer_id} is {row}"


def unclaimed(book: Book, held: Mapping[str, Row], before: Mapping[str, Row]) -> set[str]:
    """Choose what was sent, freed by the sweep, and is still nobody's."""
    sent = {(arrival.timer_id, arrival.attempt) for arrival in book.arrivals}
    return {
        timer_id
        for timer_id, row in before.items()
        if row.status == "executing" and row.claimed_by is None
        if (timer_id, held[timer_id].attempt) in sent
    }


def is_reclaimed(held: Row, later: Row) -> bool:
    return later.attempt > held.attempt or later.is_unknown


def resumed_s(arrivals: Sequence[Arrival], gone_s: float, back_s: float) -> float:
    """Tell how long after the database's return the first timer fired that needed it.

    `gone_s`: what is due later had not been claimed when the database went. Infinite: none did.
    """
    after = [each.at for each in arrivals if each.scheduled_s > gone_s and each.at > back_s]
    return min(after, default=float("inf")) - back_s


def silence_s(arrivals: Sequence[Arrival], from_s: float, to_s: float) -> float:
    """Tell the longest time without a callback that touches a span."""
    instants = sorted(each.at for each in arrivals)
    gaps = [b - a for a, b in pairwise(instants) if a <= to_s and b >= from_s]
    return max(gaps, default=float("inf"))


def most_overtaken(arrivals: Sequence[Arrival]) -> int:
    """Tell by how many younger ones the unluckiest of these timers was overtaken."""
    return promises.most_overtaken(arrival.scheduled_s for arrival in arrivals)


def overdue(
    arrivals: Sequence[Arrival], own: AbstractSet[tuple[str, int]], gone_s: float, back_s: float
) -> list[Arrival]:
    """Choose what fell due in the outage and was fired after it by one replica, as it arrived."""
    return [
        arrival
        for arrival in arrivals
        if gone_s < arrival.scheduled_s < back_s < arrival.at
        if (arrival.timer_id, arrival.attempt) in own
    ]


def late_beyond_ms(late_ms: Collection[float], machine_ms: float) -> float:
    """Tell how late the latest was, beyond what the machine did to the receiver as well."""
    return max(chain(late_ms, [0.0])) - machine_ms
