"""From numbers to the bars of a chart: where each begins, and how high it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log10
from typing import Final, NamedTuple

from timer_trio.domain.sample import Sample, Span
from timer_trio.domain.timer import Status

WIDTH: Final = 480
HEIGHT: Final = 96
_GAP: Final = 2.0
_KINDS: Final = (
    ("completed", (Status.COMPLETED,)),
    ("failed", (Status.FAILED,)),
    ("canceled", (Status.CANCELED,)),
    ("open", (Status.PENDING, Status.EXECUTING, Status.RETRYING)),
)
"""From the ground up."""
_LEAST_S: Final = 0.0005
_MOST_S: Final = 500.0
"""A lateness beyond it is drawn as if it were this."""
_LINES_S: Final = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


class Bar(NamedTuple):
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What is told of one span, in words and in bars."""

    since: datetime
    until: datetime
    counts: dict[str, int]
    is_whole: bool
    late_s: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    buckets: Sequence[Bucket]
    outcomes: Sequence[Bar]
    lateness: Sequence[Bar]
    lines: Sequence[tuple[float, float]]
    """Seconds, and at which height they are."""
    most: int
    """Timers, at the top of the chart of outcomes."""


def chart_of(spans: Sequence[Span], samples: Sequence[Sample]) -> Chart:
    buckets = [_bucket(span, sample) for span, sample in zip(spans, samples, strict=True)]
    most = max((sum(each.counts.values()) for each in buckets), default=0)
    return Chart(
        buckets=buckets,
        outcomes=[*_stacks(buckets, most)],
        lateness=[*_latenesses(buckets)],
        lines=[(line_s, round(HEIGHT - _height(line_s), 1)) for line_s in _LINES_S],
        most=most,
    )


def _bucket(span: Span, sample: Sample) -> Bucket:
    counts = {
        kind: sum(sample.counts.get(status, 0) for status in statuses) for kind, statuses in _KINDS
    }
    return Bucket(
        since=span.since,
        until=span.until,
        counts=counts,
        is_whole=sample.is_whole(span),
        late_s=sample.late_s,
    )


def _stacks(buckets: Sequence[Bucket], most: int) -> Iterator[Bar]:
    width = WIDTH / max(len(buckets), 1)
    for place, bucket in enumerate(buckets):
        top = float(HEIGHT)
        for kind, count in bucket.counts.items():
            if count:
                # What is there is seen, however little it is.
                height = max(count / most * HEIGHT, 1.5)
                top -= height
                yield _bar(kind, place, width, max(top, 0.0), height)


def _latenesses(buckets: Sequence[Bucket]) -> Iterator[Bar]:
    width = WIDTH / max(len(buckets), 1)
    for place, bucket in enumerate(buckets):
        if bucket.late_s is not None:
            half_s, most_s = bucket.late_s
            for kind, late_s in (("p99", most_s), ("p50", half_s)):
                height = _height(late_s)
                yield _bar(kind, place, width, HEIGHT - height, height)


def _bar(kind: str, place: int, width: float, y: float, height: float) -> Bar:
    x = place * width + _GAP / 2
    return Bar(kind, round(x, 1), round(y, 1), round(width - _GAP, 1), round(height, 1))


def _height(late_s: float) -> float:
    """Return how high a lateness is: each ten times as long is as much higher."""
    within = min(max(late_s, _LEAST_S), _MOST_S)
    return max(log10(within / _LEAST_S) / log10(_MOST_S / _LEAST_S) * HEIGHT, 1.5)
