"""The decision what to claim now, and when to look again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final, NamedTuple

from timer_trio.domain.cache import Cache
from timer_trio.domain.gates import Gates
from timer_trio.domain.occurrence import is_exclusive, is_occurrence
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import DueTimer, Lane

_TICK: Final = timedelta(microseconds=1)


class Armed(NamedTuple):
    """A timer to be claimed; `waited`: it is overdue because its destination had no free slot.

    `held_until_s`: until when, in Unix seconds, pauses and its flow's limits held it back.
    """

    timer: DueTimer
    waited: bool
    held_until_s: float = -inf


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
    cache: Cache,
    slots: Slots,
    gates: Gates,
    now: datetime,
    *,
    budget: int,
    ahead_s: float,
    reach_s: float,
) -> Plan:
    """Take from the cache what is to be claimed now, and hold a slot for each.

    Begins once the first timer with a free slot is `ahead_s` away, and takes all that falls due
    within `reach_s`, at most `budget`. What has no slot stays, so it stays pending, and so does
    what waits behind a gate.
    """
    now_s = now.timestamp()
    armed: list[Armed] = []
    opens_s: list[float] = []
    out_of_slots = False
    waited = _recall(cache, slots, gates, now_s)
    while front := cache.peek():
        due_s, key = front
        if due_s - (reach_s if armed else ahead_s) > now_s:
            opens_s.append(due_s - ahead_s)
            break
        if len(armed) >= budget or not slots.free:
            out_of_slots = True
            break
        lane = key if isinstance(key, Lane) else cache.front_lane()
        if (gates.are_set or lane is not key) and gates.hold(key, lane, now_s):
            cache.set_aside(None)
            continue
        if lane in slots.waiting:
            waited.add(key)
        full = slots.wait_if_full(lane, now_s)
        if full is None:
            slots.hold(lane)
            armed.append(_armed(cache.take(), key, gates, waited=key in waited and due_s < now_s))
        else:
            cache.set_aside(full)
    if gates.are_set:
        gates.breakers.give_back_unused(now_s)
    if not out_of_slots:  # then every destination with a timer due was looked at
        slots.keep_waiting(cache.queues)
    waits_s = [gates.opens_s, *(slots.opens_s(queue, now_s) for queue in cache.queues)]
    opens_s += [wait_s for wait_s in waits_s if wait_s is not None]
    return Plan(armed=armed, wake_at=_first_instant(opens_s), out_of_slots=out_of_slots)


class Kind(NamedTuple):
    """What timers of one claim have in common: each kind is claimed by a statement of its own."""

    in_flow: bool
    is_occurrence: bool
    is_exclusive: bool


def kind_of(timer: DueTimer) -> Kind:
    """Tell how a timer is claimed."""
    return Kind(timer.flow_key is not None, is_occurrence(timer.id), is_exclusive(timer.id))


PLAIN: Final = Kind(in_flow=False, is_occurrence=False, is_exclusive=False)


def batches(armed: Sequence[Armed], at_most: int) -> Iterator[Sequence[Armed]]:
    """Divide what is to be claimed into claims of at most so many: each kind has its own."""
    others = [each for each in armed if is_occurrence(each.timer.id) or each.timer.flow_key]
    if not others:  # mostly: plain timers pay for nothing more
        yield from _parts(armed, at_most)
        return
    kinds: dict[Kind, list[Armed]] = {}
    for each in armed:
        kinds.setdefault(kind_of(each.timer), []).append(each)
    for kind in sorted(kinds):
        yield from _parts(kinds[kind], at_most)


def _parts(armed: Sequence[Armed], at_most: int) -> Iterator[Sequence[Armed]]:
    for start in range(0, len(armed), at_most):
        yield armed[start : start + at_most]


def _armed(timer: DueTimer, key: BacklogKey, gates: Gates, *, waited: bool) -> Armed:
    if gates.are_set or timer.flow_key is not None:
        gates.begin(timer)
        return Armed(timer, waited, gates.held_until_s(key, timer.lane))
    return Armed(timer, waited)


def _recall(cache: Cache, slots: Slots, gates: Gates, now_s: float) -> set[BacklogKey]:
    """Show again what may have a slot now, and names it; and what may pass its gate."""
    shown: set[BacklogKey] = set()
    changed = slots.take_changed()
    for lane in changed:
        cache.judge_anew(lane)
    for queue in changed | cache.queues:
        if cache.is_line_behind(queue):
            room = slots.room(queue, now_s)
        elif isinstance(queue, Lane) and queue not in changed:
            # Mostly: a destination's own backlog alone waits for it.
            room = int(slots.opens_for(queue, now_s))
        else:
            room = 1
        if room:
            shown.update(cache.recall(queue, room))
    for key in gates.take_opened(now_s):
        cache.show(key)
    return shown


def _first_instant(opens_s: Sequence[float]) -> datetime | None:
    if not opens_s:
        return None
    # A datetime rounds, and who wakes too early wakes again at once: for ever, on a virtual clock.
    return datetime.fromtimestamp(min(opens_s), UTC) + _TICK
