"""The outcomes that were written lately, in case the database turns out to have forgotten them.

A standby that takes over may have missed them. What is still known here need not be sent again: it
is written again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.settlement import Release, Settlement, Skipped
from timer_trio.domain.timer import Claim, ClaimedTimer, TimerId

KEPT_S: Final = 10.0
"""How far a standby may be behind: more is an outage of its own."""
GAP_S: Final = 1.0
"""A pause counts for so much at most: what was written before an outage is kept beyond it."""
RECALLED_S: Final = 60.0
"""How long after the database has come back it may still turn out what it has forgotten."""
MAX_KEPT: Final = 10_000
"""Outcomes that are kept, and twice as many that are recalled: some hundred bytes each."""
UNIT_BYTES: Final = 500
"""An answer or a result counts as so many outcomes as it has units."""


class _Written(NamedTuple):
    """What one statement has written, after so many seconds in which some did."""

    active_s: float
    size: int
    settlements: Sequence[Settlement]


class Lately:
    """Keeps what was written in the last seconds, and finds it by its timer while it is recalled.

    What is kept costs nothing for each of them; what is recalled does, for a minute.
    """

    def __init__(self) -> None:
        self._kept: deque[_Written] = deque()
        self._size = 0
        self._noted_s = 0.0
        self._active_s = 0.0
        self.is_recalled = False
        """Whether there is anything to be found."""
        self._recalled: dict[TimerId, Settlement] = {}
        self._recalled_size = 0
        self._recalled_until_s = float("-inf")

    def note(self, settlements: Sequence[Settlement], now_s: float) -> None:
        """Keep what was written just now, or found superseded."""
        self._active_s += min(now_s - self._noted_s, GAP_S)
        self._noted_s = now_s
        written = _Written(self._active_s, sum(map(_size, settlements)), settlements)
        self._kept.append(written)
        self._size += written.size
        oldest_s = self._active_s - KEPT_S
        while self._kept and (self._size > MAX_KEPT or self._kept[0].active_s < oldest_s):
            self._size -= self._kept.popleft().size
        if self.is_recalled:
            self._recall(written, now_s)

    def recall(self, now_s: float) -> None:
        """Have what was written lately, and will be, be found for a while."""
        self._recalled_until_s = now_s + RECALLED_S
        if not self.is_recalled:
            self.is_recalled = True
            for written in self._kept:
                self._recall(written, now_s)

    def written(self, timer_id: TimerId, claim: Claim) -> Settlement | None:
        """Find what was written last of a timer, if it was so under this claim."""
        settlement = self._recalled.get(timer_id)
        return settlement if settlement is not None and settlement.claim == claim else None

    def outcome_of(self, timer: ClaimedTimer) -> Settlement | None:
        """Find how the attempt ended that a timer was claimed for anew, to be written under that.

        An attempt has a number that no other one has. Only one that has sent nothing gives it back;
        so who claims it again, or an earlier one, has had that undone. None as well if its consumer
        has asked for something else since.
        """
        settlement = self._recalled.get(timer.id)
        if settlement is None or isinstance(settlement, Release | Skipped):
            return None
        sent_at = settlement.executed_at
        if sent_at is None or timer.requested_at > sent_at or not settlement.is_begun:
            return None
        last = settlement.attempts[-1] if settlement.attempts else None
        made = last.attempt if last else 1  # what tells of no attempt is the first one
        if made < timer.attempt:
            return None
        if last is None or made == timer.attempt:
            return replace(settlement, claim=timer.claim)
        # What else the database has forgotten is not counted anew.
        told = last._replace(attempt=timer.attempt)
        return replace(settlement, claim=timer.claim, attempts=[told])

    def _recall(self, written: _Written, now_s: float) -> None:
        if now_s > self._recalled_until_s:
            self.is_recalled, self._recalled, self._recalled_size = False, {}, 0
        elif self._recalled_size < 2 * MAX_KEPT:
            self._recalled.update({each.timer_id: each for each in written.settlements})
            self._recalled_size += written.size


def _size(settlement: Settlement) -> int:
    attempts, result = settlement.attempts, settlement.result
    if not attempts and result is None:
        return 1  # nearly always
    size = sum(_answer_size(each.answer) for each in attempts if each.answer is not None)
    if result is not None:
        size += len(result.spec.callback.payload or "")
    return 1 + size // UNIT_BYTES


def _answer_size(answer: KeptAnswer) -> int:
    return len(answer.body) + sum(len(name) + len(text) for name, text in answer.headers)
