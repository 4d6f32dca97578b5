"""When a destination that fails is left alone, for the projects that ask for it.

Theory of operation. A breaker is *closed* until so many callbacks in a row have failed. It is then
*open* for a while, and what is due waits. After that it is *half open*: one callback, the probe,
may go. A probe that fails opens it again for as long; what is answered at any time closes it, a
callback that was sent before it opened included. The failure of such a one tells nothing new.

Each replica judges by what it has sent itself, but no two probe a lane at once: a probe goes only
where its replica has been granted the right to it (`probes.py`). Whoever asks in vain learns how
the other's probe has ended: if it was answered the breaker closes here as well, if it has failed it
stays open here for as long as there. A right of which the next look at what is due makes nothing is
given back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from math import inf
from typing import Final, NamedTuple, assert_never

from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.outcome import CallbackOutcome, Delivered, Rejected, TimedOut, Unreachable
from timer_trio.domain.probes import (
    Answered,
    Granted,
    ProbeEnd,
    ProbeVerdict,
    ProbeWish,
    Refused,
)
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Lane, TimerId

MAX_FAILING: Final = 10_000
"""Lanes with failures in a row that are remembered: 3 MB; consumers choose them."""
ASK_AGAIN_S: Final = 1.0
"""After a right was refused or given back, until it is asked for again: that costs a statement."""
_TOO_MANY_REQUESTS: Final = 429


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Opened(NamedTuple):
    """A breaker that is not closed; from `until_s` on it is half open."""

    lane: Lane
    until_s: float


def harms(outcome: CallbackOutcome) -> bool | None:
    """Tell whether a callback shows that its destination fails; None: it shows nothing.

    Any answer but 429 and 5xx shows that it lives.
    """
    match outcome:
        case Delivered():
            return False
        case Rejected(http_status):
            return http_status == _TOO_MANY_REQUESTS or http_status >= 500
        case Unreachable() | TimedOut():
            return True
        case _:
            return None


def state_of(open_until: datetime | None, now: datetime) -> BreakerState:
    """Name the state of a breaker that opened until then; None: it is closed."""
    if open_until is None:
        return BreakerState.CLOSED
    return BreakerState.OPEN if now < open_until else BreakerState.HALF_OPEN


@dataclass(slots=True, eq=False)
class _Run:
    """Failures in a row; `until_s`: when the breaker is half open, None while it is closed.

    `right` says until when this replica may probe; None: it must ask for it first, and not before
    `asks_s`. `probe` is the callback that does.
    """

    failures: int = 0
    opened_s: float = -inf
    until_s: float | None = None
    asks_s: float = -inf
    right: datetime | None = None
    probe: TimerId | None = None


class Breakers:
    """The breakers of one replica. Times are Unix seconds.

    A lane is known from its first failure until it is answered again. At most `most` are, those
    that failed last: whoever is forgotten is closed.
    """

    def __init__(self, *, most: int = MAX_FAILING) -> None:
        self._most = most
        self._runs: OrderedDict[Lane, _Run] = OrderedDict()
        self._wanted: dict[Lane, None] = {}
        """What is to be probed here, if the right to it is granted."""
        self._unused: dict[Lane, None] = {}
        """Where the right is ours, and no probe under way."""
        self._ends: list[ProbeEnd] = []
        self._is_over = False

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def have_news(self) -> bool:
        """Whether there are rights to be asked for, or ends of some to be told."""
        return bool(self._wanted or self._ends)

    def note(
        self,
        lane: Lane,
        timer_id: TimerId,
        policy: BreakerPolicy,
        is_failure: bool,  # noqa: FBT001 - how it went, no switch
        now_s: float,
    ) -> None:
        """Count a callback that has ended."""
        if not is_failure:
            self._close(lane, answered_s=now_s)
            return
        run = self._runs.get(lane) or self._remember(lane)
        self._runs.move_to_end(lane)
        run.failures += 1
        is_closed = run.until_s is None
        if run.failures >= policy.failures if is_closed else run.probe == timer_id:
            run.opened_s, run.until_s = now_s, now_s + policy.open_s
            self._end_right(lane, run, until_s=run.until_s)

    def wait_s(self, lane: Lane, now_s: float) -> float | None:
        """Return until when a callback must wait at least; None: it may go.

        Infinity: until `take` or the end of the probe says more.
        """
        run = self._runs.get(lane)
        if run is None or run.until_s is None:
            return None
        if run.probe is not None:
            return inf
        at_s = max(run.until_s, run.asks_s)
        if now_s < at_s:
            return at_s
        if run.right is None:
            self._wanted[lane] = None
            return inf
        return None

    def begin(self, lane: Lane, timer_id: TimerId) -> None:
        """Arm a callback that need not wait.

        If it is a probe the others wait until `note` tells how it went, or `give_up` that it did
        not go.
        """
        run = self._runs.get(lane)
        if run is not None and run.right is not None:
            run.probe = timer_id
            self._unused.pop(lane, None)

    def give_up(self, lane: Lane, timer_id: TimerId, *, others_wait: bool) -> bool:
        """Let another callback be the probe, if this one was it: it was not sent, or told nothing.

        Returns whether it was. Where no others wait here other replicas may probe.
        """
        run = self._runs.get(lane)
        if run is None or run.probe != timer_id:
            return False
        run.probe = None
        self._unused[lane] = None
        if self._is_over or not others_wait:
            self._end_right(lane, run)
        return True

    def give_back_unused(self, now_s: float) -> None:
        """Let others probe what nothing was sent to, although it might have been."""
        for lane in [*self._unused]:
            run = self._runs[lane]
            run.asks_s = now_s + ASK_AGAIN_S
            self._end_right(lane, run)

    def stop(self) -> None:
        """Begin no probe any more: others may."""
        self._is_over = True
        self._wanted.clear()
        for lane in [*self._unused]:
            self._end_right(lane, self._runs[lane])

    def wishes(self, at_most: int) -> list[ProbeWish]:
        """List what the right is to be asked for; `take` is to hear what was answered."""
        return [
            ProbeWish(lane, _instant(self._runs[lane].opened_s))
            for lane in islice(self._wanted, at_most)
        ]

    def take(self, lane: Lane, verdict: ProbeVerdict, now_s: float) -> None:
        """Take note of what was answered to a wish."""
        run = self._runs.get(lane) if lane in self._wanted else None
        self._wanted.pop(lane, None)
        match verdict:
            case Granted(until):
                if run is None:
                    self._ends.append(ProbeEnd(lane, until))
                else:
                    run.right = until
                    self._unused[lane] = None
            case Answered():
                if run is not None:
                    self._close(lane)
            case Refused(open_until):
                if run is not None:
                    run.asks_s = now_s + ASK_AGAIN_S
                    if open_until is not None:
                        run.until_s = open_until.timestamp()
            case _:
                assert_never(verdict)

    def ends(self, at_most: int) -> list[ProbeEnd]:
        """List the rights that have ended, the oldest first; `note_told` is to follow."""
        return self._ends[:at_most]

    def note_told(self, count: int) -> None:
        """Forget so many ends: all replicas can know of them."""
        del self._ends[:count]

    def forget(self, project: ProjectId) -> None:
        """Close all breakers of a project, whose policy is gone or another one."""
        for lane in [lane for lane in self._runs if lane.project == project]:
            self._close(lane)

    def opened(self) -> list[Opened]:
        """List the breakers that are not closed."""
        runs = self._runs.items()
        return [Opened(lane, run.until_s) for lane, run in runs if run.until_s is not None]

    def _remember(self, lane: Lane) -> _Run:
        if len(self._runs) >= self._most:
            self._close(next(iter(self._runs)))
        run = self._runs[lane] = _Run()
        return run

    def _close(self, lane: Lane, *, answered_s: float | None = None) -> None:
        run = self._runs.pop(lane, None)
        self._wanted.pop(lane, None)
        if run is not None:
            self._end_right(lane, run, until_s=answered_s, is_answered=answered_s is not None)

    def _end_right(
        self, lane: Lane, run: _Run, *, until_s: float | None = None, is_answered: bool = False
    ) -> None:
        if run.right is not None:
            until = None if until_s is None else _instant(until_s)
            self._ends.append(ProbeEnd(lane, run.right, until, is_answered))
            run.right = run.probe = None
            self._unused.pop(lane, None)


def _instant(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
