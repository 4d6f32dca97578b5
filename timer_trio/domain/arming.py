"""The decision what to claim now, and when to look again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from timer_trio.domain.cache import Cache
from timer_trio.domain.occurrence import is_exclusive, is_occurrence
from timer_trio.domain.pace import Pace
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import Destination, DueTimer

_TICK: Final = timedelta(microseconds=1)


class Armed(NamedTuple):
    """A timer to be claimed; `waited`: it is overdue because its destination had no free slot."""

    timer: DueTimer
    waited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to claim now, and when to look again unless cache or slots change before.

    `wake_at` is None where only such a change can bring something to do; `out_of_slots` says that
    timers wait for any slot, whatever their destination.
    """

    armed: Sequence[Armed]
    wake_at: datetime | None
    out_of_slots: bool


def take_due(
    cache: Cache, slots: Slots, now: datetime, *, budget: int, ahead_s: float, reach_s: float
) -> Plan:
    """Take from the cache what is to be claimed now, and hold a slot for each.

    Begins once the first timer with a free slot is `ahead_s` away, and takes all that falls due
    within `reach_s`, at most `budget`. What has no slot stays, so it stays pending.
    """
    now_s = now.timestamp()
    armed: list[Armed] = []
    opens_s: list[float] = []
    out_of_slots = False
    waited = _recall(cache, slots, now_s)
    while front := cache.peek():
        due_s, destination = front
        if due_s - (reach_s if armed else ahead_s) > now_s:
            opens_s.append(due_s - ahead_s)
            break
        if len(armed) >= budget or not slots.free:
            out_of_slots = True
            break
        if destination in slots.waiting:
            waited.add(destination)
        full = slots.wait_if_full(destination, now_s)
        if full is None:
            slots.hold(destination)
            armed.append(Armed(cache.take(), destination in waited and due_s < now_s))
        else:
            cache.set_aside(full)
    if not out_of_slots:  # then every destination with a timer due was looked at
        slots.keep_waiting(cache.queues)
    waits_s = [slots.opens_s(queue, now_s) for queue in cache.queues]
    opens_s += [wait_s for wait_s in waits_s if wait_s is not None]
    return Plan(armed=armed, wake_at=_first_instant(opens_s), out_of_slots=out_of_slots)


def batches(armed: Sequence[Armed], at_most: int) -> Iterator[Sequence[Armed]]:
    """Divide what is to be claimed into claims of at most so many: each kind has its own."""
    occurrences = [each for each in armed if is_occurrence(each.timer.id)]
    if not occurrences:  # mostly: plain timers pay for nothing more
        yield from _parts(armed, at_most)
        return
    kinds: dict[bool | None, list[Armed]] = {None: [], False: [], True: []}
    for each in armed:
        kind = is_exclusive(each.timer.id) if is_occurrence(each.timer.id) else None
        kinds[kind].append(each)
    for alike in kinds.values():
        yield from _parts(alike, at_most)


def _parts(armed: Sequence[Armed], at_most: int) -> Iterator[Sequence[Armed]]:
    for start in range(0, len(armed), at_most):
        yield armed[start : start + at_most]


def _recall(cache: Cache, slots: Slots, now_s: float) -> set[Destination]:
    """Show again what may have a slot now; names it."""
    shown: set[Destination] = set()
    changed = slots.take_changed()
    for destination in changed:
        cache.judge_anew(destination)
    for queue in changed | cache.queues:
        room = slots.let_in(queue, now_s) if isinstance(queue, Pace) else 1
        if room:
            shown.update(cache.recall(queue, room))
    return shown


def _first_instant(opens_s: Sequence[float]) -> datetime | None:
    if not opens_s:
        return None
    # A datetime rounds, and who wakes too early wakes again at once: for ever, on a virtual clock.
    return datetime.fromtimestamp(min(opens_s), UTC) + _TICK
