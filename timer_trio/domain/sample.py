"""What a look at some timers tells: how many there are, how they ended, and how late they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Final, NamedTuple

from timer_trio.domain.timer import Status

SHARES: Final = (0.5, 0.99)
"""Of the lateness, which a sample tells."""


class Span(NamedTuple):
    """The timers that are asked to fire from `since` on, and before `until`: the latest `most`."""

    since: datetime
    until: datetime
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen of a span: how many timers by their status.

    `late_s` has the SHARES of how late they were sent, of those that were sent once: counted from
    the later of their instant and their creation. None: there is none of these.
    """

    counts: Mapping[Status, int] = field(default_factory=dict)
    late_s: tuple[float, float] | None = None

    @property
    def seen(self) -> int:
        return sum(self.counts.values())

    def is_whole(self, span: Span) -> bool:
        """Whether these are all of the span's."""
        return self.seen < span.most


NOTHING: Final = Sample()


class Seen(NamedTuple):
    """What is looked at of a timer."""

    status: Status
    attempt: int
    created_at: datetime
    execute_at: datetime
    executed_at: datetime | None


def sample_of(seen: Iterable[Seen]) -> Sample:
    """Count what was seen of a span."""
    counts: dict[Status, int] = {}
    late: list[float] = []
    for timer in seen:
        counts[timer.status] = counts.get(timer.status, 0) + 1
        if timer.attempt == 1 and timer.executed_at is not None:
            expected_at = max(timer.execute_at, timer.created_at)
            late.append((timer.executed_at - expected_at).total_seconds())
    return Sample(counts=counts, late_s=_shares(sorted(late)))


def together(samples: Sequence[Sample]) -> Sample:
    """Add samples of one span that were looked at apart: of the lateness, none was greater."""
    counts: Counter[Status] = Counter()
    for sample in samples:
        counts.update(sample.counts)
    late = [sample.late_s for sample in samples if sample.late_s is not None]
    greatest = (max(low for low, _ in late), max(high for _, high in late)) if late else None
    return Sample(counts=dict(counts), late_s=greatest)


def _shares(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    low, high = (values[max(ceil(share * len(values)), 1) - 1] for share in SHARES)
    return low, high
