"""The promises of flows and pauses: who may go, and that he does.

What a process had sent that was lost is known by nobody: once it is swept its timers go again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Final

from tests.simulation.flow_turns import (
    KNOWN_S,
    claims_of,
    flows_of,
    has_locks,
    idle_spells,
    known_s_of,
    latest_turn_s,
    rules_between,
)
from tests.simulation.history import Ending, History, TimerLog, Try
from tests.simulation.world import second
from timer_trio.domain.flow import FlowId
from timer_trio.domain.gates import Gate
from timer_trio.domain.timer import Lane, Timer

HOLDS_S: Final = 5.0
"""A rule holds on all replicas within this time of its answer."""
TURN_S: Final = 2.0
"""From the turn of a flow's timer until it is claimed: what has changed is heard of with a beat,
and a destination of which nothing is known has few slots until it has been silent for a second."""
ROUNDING_S: Final = 2e-3
"""How long a callback took is kept in milliseconds."""


def limits_hold(history: History) -> Iterator[str]:
    """A receiver never sees more of a flow at once than its limit."""
    for flow, tries in tries_of_flows(history).items():
        for place, one in enumerate(tries):
            at_s = one.fired_s
            rules = rules_between(history, flow, at_s - HOLDS_S, at_s)
            limit = max(inf if each.max_in_flight is None else each.max_in_flight for each in rules)
            others = sum(_is_in_flight(history, each, at_s) for each in tries[:place])
            if others + 1 > limit:
                yield f"{flow} had {others + 1} in flight at {at_s:.3f}, {limit} allowed"


def rates_hold(history: History) -> Iterator[str]:
    """A receiver never counts more of a flow in any window than its rate."""
    for flow, tries in tries_of_flows(history).items():
        for place, one in enumerate(tries):
            for first, before in enumerate(tries[:place]):
                rules = rules_between(history, flow, before.fired_s - HOLDS_S, one.fired_s)
                rates = [each.rate for each in rules if each.rate is not None]
                if len(rates) < len(rules):
                    continue
                window_s = min(rate.per_s for rate in rates)
                if one.fired_s - before.fired_s >= window_s - ROUNDING_S:
                    continue
                count = place + 1 - first
                if count > max(rate.count for rate in rates):
                    yield f"{flow} had {count} within {window_s}s at {one.fired_s:.3f}"


def in_order_at_one(history: History) -> Iterator[str]:
    """Where one may be in flight at once, who is due first goes first, of all that is known.

    That one which has been moved is in a flow only its claim says to who hears of the move.
    """
    for flow in flows_of(history):
        for taken, before in claims_of(history, flow):
            rules = rules_between(history, flow, taken.at_s - HOLDS_S, taken.at_s)
            if any(each.max_in_flight != 1 for each in rules):
                continue
            due_at = before[taken.timer_id].first_due_at
            assert due_at is not None
            for timer_id, known in before.items():
                if known.due_at is None or known.due_at >= due_at or known.is_moved:
                    continue
                known_s = known.known_s
                if not known.is_freed or has_locks(history, flow):
                    known_s = latest_turn_s(history, flow, known_s, KNOWN_S)
                if known_s < taken.at_s:
                    late_s = taken.at_s - second(known.due_at)
                    yield f"{timer_id} of {flow} was overtaken, {late_s:.3f}s after its instant"


def nothing_stuck(history: History) -> Iterator[str]:
    """While a timer of a flow is due and may go, one of them goes soon."""
    for flow in flows_of(history):
        for began_s, ended_s in idle_spells(history, flow):
            latest_s = latest_turn_s(history, flow, began_s, TURN_S)
            if ended_s > latest_s:
                yield (
                    f"nothing of {flow} was claimed from {began_s:.3f} to {ended_s:.3f};"
                    f" until {latest_s:.3f} would do"
                )


def pauses_hold(history: History) -> Iterator[str]:
    """Nothing is sent of what has been paused for as long as that may take to be heard of."""
    for timer_log in history.timer_logs:
        for one in timer_log.tries:
            if one.sent_s is None:
                continue
            for gate in gates_of(timer_log, one):
                rules = rules_between(history, gate, one.sent_s - HOLDS_S, one.sent_s)
                if all(each.paused_at is not None for each in rules):
                    yield f"{timer_log.number} was sent at {one.sent_s:.3f} while {gate} was paused"


FLOW_CHECKERS: Final[tuple[Callable[[History], Iterator[str]], ...]] = (
    limits_hold,
    rates_hold,
    in_order_at_one,
    nothing_stuck,
    pauses_hold,
)


def broken_flow_promises(history: History) -> list[str]:
    """Name all that is wrong with the flows of a history."""
    return [
        f"{checker.__name__}: {violation}"
        for checker in FLOW_CHECKERS
        for violation in checker(history)
    ]


def may_be_missed(history: History, timer_log: TimerLog, row: Timer) -> bool:
    """Tell whether a trouble has made a timer of a flow miss its grace, once its turn had come."""
    assert timer_log.flow is not None
    assert row.spec.misfire_grace_s is not None
    turn_s = second(row.updated_at) - row.spec.misfire_grace_s
    pending = [
        change
        for change in history.changes
        if change.timer_id == row.id and change.row is not None and change.row.due_at is not None
    ]
    return (
        any(history.was_lost(one.process, one.began_s) for one in timer_log.tries)
        or known_s_of(history, pending[-1]) > turn_s
        or latest_turn_s(history, timer_log.flow, turn_s, TURN_S) > turn_s + TURN_S
    )


def tries_of_flows(history: History) -> Mapping[FlowId, Sequence[Try]]:
    """List what was sent of each flow, in order."""
    tries: dict[FlowId, list[Try]] = {flow: [] for flow in flows_of(history)}
    for timer_log in history.timer_logs:
        if timer_log.flow is not None:
            sent = (one for one in timer_log.tries if one.sent_s is not None)
            tries[timer_log.flow].extend(sent)
    return {flow: sorted(each, key=lambda one: one.fired_s) for flow, each in tries.items()}


def gates_of(timer_log: TimerLog, one: Try) -> Iterator[Gate]:
    url = timer_log.requests[one.version].spec.callback.url
    yield timer_log.project
    yield Lane(url.destination, timer_log.project)
    if timer_log.flow is not None:
        yield timer_log.flow


def _is_in_flight(history: History, one: Try, at_s: float) -> bool:
    """Tell whether a receiver still has a callback, or may have it as its process was killed."""
    return at_s < _over_s(history, one)


def _over_s(history: History, one: Try) -> float:
    over_s = one.ended_s if one.answered_s is None else one.answered_s
    if not history.was_lost(one.process, one.fired_s, over_s):
        return over_s
    freed_s = next(
        (
            change.at_s
            for change in history.changes
            if str(change.timer_id) == one.timer_id
            and change.at_s > one.fired_s
            and change.row is not None
            and change.row.claimed_by is None
        ),
        inf,
    )
    is_cut_off = one.ending is Ending.BROKEN_OFF and one.answered_s is None
    return freed_s if is_cut_off else min(over_s, freed_s)
