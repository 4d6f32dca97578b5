"""What people are told of many timers, in several cells."""

from __future__ import annotations

from collections.abc import Sequence

from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.sample import Sample, Span, together
from timer_trio.storage.routed.cells import Cells


class RoutedSamples(Cells):
    """SampleStorage in several cells: the latest of each of them."""

    async def samples(
        self, spans: Sequence[Span], project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[Sample]:
        found = await self._ask_all(lambda storage: storage.samples(spans, project))
        return [together(each) for each in zip(*found, strict=True)]
