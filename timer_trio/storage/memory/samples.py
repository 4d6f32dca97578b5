"""What people are told of many timers, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import trio

from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.sample import Sample, Seen, Span, sample_of
from timer_trio.domain.timer import Timer
from timer_trio.storage.memory.database import Database


class MemorySamples(Database):
    """SampleStorage in memory."""

    async def samples(
        self, spans: Sequence[Span], project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[Sample]:
        await trio.lowlevel.checkpoint()
        timers = [row.timer for row in self._rows.values() if row.project == project]
        timers.sort(key=lambda timer: (timer.spec.execute_at, timer.id), reverse=True)
        return [_sample(timers, span) for span in spans]


def _sample(timers: Sequence[Timer], span: Span) -> Sample:
    within = (timer for timer in timers if span.since <= timer.spec.execute_at < span.until)
    return sample_of(
        Seen(t.status, t.attempt, t.created_at, t.spec.execute_at, t.executed_at)
        for t in islice(within, span.most)
    )
