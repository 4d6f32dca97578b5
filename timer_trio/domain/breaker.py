"""When a destination that fails is left alone, for the projects that ask for it.

Theory of operation. A breaker is *closed* until so many callbacks in a row have failed. It is then
*open* for a while, and what is due waits. After that it is *half open*: one callback, the probe,
may go. A probe that fails opens it again for as long; what is answered at any time closes it, a
callback that was sent before it opened included. The failure of such a one tells nothing new while
the breaker is open, and counts as the probe's once there is one. Each replica judges by what it
has sent itself.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.outcome import CallbackOutcome, Delivered, Rejected, TimedOut, Unreachable
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Lane

MAX_FAILING: Final = 10_000
"""Lanes with failures in a row that are remembered: 3 MB; consumers choose them."""
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
    """Failures in a row; `until_s`: when the breaker is half open, None while it is closed."""

    failures: int = 0
    until_s: float | None = None
    is_probed: bool = False


class Breakers:
    """The breakers of one replica. Times are Unix seconds.

    A lane is known from its first failure until it is answered again. At most `most` are, those
    that failed last: whoever is forgotten is closed.
    """

    def __init__(self, *, most: int = MAX_FAILING) -> None:
        self._most = most
        self._runs: OrderedDict[Lane, _Run] = OrderedDict()

    def __len__(self) -> int:
        return len(self._runs)

    def note(
        self,
        lane: Lane,
        policy: BreakerPolicy | None,
        is_failure: bool,  # noqa: FBT001 - how it went, no switch
        now_s: float,
    ) -> None:
        """Count a callback that has ended; without a policy its lane is forgotten."""
        if policy is None or not is_failure:
            self._runs.pop(lane, None)
            return
        run = self._runs.get(lane) or self._remember(lane)
        self._runs.move_to_end(lane)
        run.failures += 1
        is_reason = run.is_probed if run.until_s is not None else run.failures >= policy.failures
        if is_reason:
            run.until_s, run.is_probed = now_s + policy.open_s, False

    def wait_s(self, lane: Lane, now_s: float) -> float | None:
        """Return until when a callback must wait at least; None: it may go.

        Infinity: until the probe has ended, or is given up.
        """
        run = self._runs.get(lane)
        if run is None or run.until_s is None:
            return None
        if run.is_probed:
            return inf
        return run.until_s if now_s < run.until_s else None

    def begin(self, lane: Lane) -> bool:
        """Arm a callback that need not wait, and tell whether it is a probe.

        The others wait until `note` tells how the probe went, or `give_up` that it did not go.
        """
        run = self._runs.get(lane)
        if run is None or run.until_s is None:
            return False
        run.is_probed = True
        return True

    def give_up(self, lane: Lane) -> None:
        """Let another callback be the probe: this one was not sent, or told nothing."""
        if run := self._runs.get(lane):
            run.is_probed = False

    def forget(self, project: ProjectId) -> None:
        """Close all breakers of a project, whose policy is gone or another one."""
        for lane in [lane for lane in self._runs if lane.project == project]:
            del self._runs[lane]

    def opened(self) -> list[Opened]:
        """List the breakers that are not closed."""
        runs = self._runs.items()
        return [Opened(lane, run.until_s) for lane, run in runs if run.until_s is not None]

    def _remember(self, lane: Lane) -> _Run:
        if len(self._runs) >= self._most:
            self._runs.popitem(last=False)
        run = self._runs[lane] = _Run()
        return run
