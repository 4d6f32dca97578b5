"""What is wrong first, and then what the service does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from timer_trio.access.recent import Recent
from timer_trio.api.route import Route
from timer_trio.console.charts import Chart, chart_of
from timer_trio.console.desk import Desk
from timer_trio.console.rendering import ROOT
from timer_trio.console.visit import MOST_LISTED, Data, Visit
from timer_trio.domain.destination import EPOCH
from timer_trio.domain.project import ProjectId
from timer_trio.domain.sample import Sample, Span
from timer_trio.domain.timer import Status, rfc3339

MOST_DUE: Final = 1_000
"""Timers that are counted of what is due within a time: beyond it, "1,000+"."""
MOST_LOOKED_AT: Final = 1_000
"""Of the last hour and the last day."""
MOST_OF_BAR: Final = 200
"""Of each bar of a chart: 12,200 rows in all, some 50 ms of the database's time."""
_AHEAD: Final = (
    ("minute", timedelta(minutes=1)),
    ("hour", timedelta(hours=1)),
    ("day", timedelta(days=1)),
)
_PAST: Final = (("hour", timedelta(hours=1), 12), ("day", timedelta(days=1), 24))
_MOST_KNOWN: Final = 1_000
_FAILING: Final = ("rejected", "unreachable", "timed_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """How many timers are asked to fire within a time from now."""

    name: str
    count: int
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What became of the timers of the last hour, or day."""

    name: str
    since: datetime
    counts: Mapping[Status, int]
    is_whole: bool
    late_s: tuple[float, float] | None
    chart: Chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    due: Sequence[Due]
    past: Sequence[Past]


def routes(desk: Desk) -> Sequence[Route]:
    return desk.live_page(ROOT, "overview.html", _Overview(desk).load)


class _Overview:
    def __init__(self, desk: Desk) -> None:
        self._context = desk.context
        # However many look at it, a project's numbers are read once in five seconds.
        self._figures = Recent[ProjectId, Figures](self._read, most=_MOST_KNOWN)

    async def load(self, visit: Visit) -> Mapping[str, Any]:
        figures = await self._figures.get(visit.by.project)
        if figures is None:
            raise AssertionError("there always are some")
        listed = await visit.get("/destinations", [("limit", MOST_LISTED)])
        destinations = listed["destinations"]
        replicas = (await visit.get("/replicas"))["replicas"] if visit.by.is_of_service else None
        troubles = await self._troubles(visit, destinations, replicas or [], figures)
        return {
            "figures": figures,
            "troubles": sorted(troubles, key=lambda each: each["kind"] != "bad"),
            "replicas": replicas,
            "in_flight": sum(each["in_flight"] for each in destinations),
            "waiting": sum(each["waiting"] for each in destinations),
            "are_all_destinations": listed["next_cursor"] is None,
            "most_due": MOST_DUE,
            "most_of_bar": MOST_OF_BAR,
        }

    async def _read(self, project: ProjectId) -> Figures:
        now = self._context.clock.now()
        ahead = [Span(now, now + within, MOST_DUE) for _, within in _AHEAD]
        past = [[Span(now - within, now, MOST_LOOKED_AT)] for _, within, _ in _PAST]
        bars = [_bars(now, within, count) for _, within, count in _PAST]
        spans = [*ahead, *(span for group in (*past, *bars) for span in group)]
        found = iter(await self._context.storage.samples(spans, project))
        return Figures(
            due=[
                _due(name, span, next(found)) for (name, _), span in zip(_AHEAD, ahead, strict=True)
            ],
            past=_pasts(past, bars, found),
        )

    async def _troubles(
        self,
        visit: Visit,
        destinations: Sequence[Data],
        replicas: Sequence[Data],
        figures: Figures,
    ) -> Sequence[Data]:
        health = self._context.health
        paused = await self._context.storage.project_pause(visit.by.project)
        held = (await visit.get("/flows", [("paused", "true"), ("limit", MOST_LISTED)]))["flows"]
        asked = [("status", "paused"), ("limit", MOST_LISTED)]
        schedules = (await visit.get("/schedules", asked))["schedules"]
        return (
            *_of_service(health.trouble, health.warnings, replicas),
            *_of_project(paused.paused_at, visit.by.project_name),
            *_of_destinations(destinations),
            *_of_rules(held, schedules),
            *_of_past(figures.past[0]),
        )


def _bars(now: datetime, within: timedelta, count: int) -> Sequence[Span]:
    """Return the spans of a chart, the last of which is not over."""
    step = within / count
    last = now - (now - EPOCH) % step
    begins = (last - before * step for before in range(count - 1, -1, -1))
    return [Span(since, min(since + step, now), MOST_OF_BAR) for since in begins]


def _due(name: str, span: Span, sample: Sample) -> Due:
    return Due(
        name=name, count=sample.counts.get(Status.PENDING, 0), is_whole=sample.is_whole(span)
    )


def _pasts(
    past: Sequence[Sequence[Span]], bars: Sequence[Sequence[Span]], found: Iterator[Sample]
) -> Sequence[Past]:
    wholes = [(spans[0], next(found)) for spans in past]
    return [
        Past(
            name=name,
            since=span.since,
            counts=sample.counts,
            is_whole=sample.is_whole(span),
            late_s=sample.late_s,
            chart=chart_of(group, [next(found) for _ in group]),
        )
        for (name, _, _), (span, sample), group in zip(_PAST, wholes, bars, strict=True)
    ]


def _trouble(kind: str, words: str, link: str = "", **more: object) -> Data:
    return {"kind": kind, "words": words, "link": link, "since": None, **more}


def _of_service(
    reason: str | None, warnings: Sequence[str], replicas: Sequence[Data]
) -> Iterator[Data]:
    if reason:
        yield _trouble("bad", f"The database: {reason}")
    for warning in warnings:
        yield _trouble("warn", f"{warning[:1].upper()}{warning[1:]}")
    for replica in replicas:
        if replica["status"] == "silent":
            words = f"A replica is silent: {replica['host'] or replica['id']}"
            yield _trouble("bad", words, since=replica["heartbeat_at"])


def _of_project(paused_at: datetime | None, name: str) -> Iterator[Data]:
    if paused_at is not None:
        words = f"The project {name} is paused: nothing of it is sent"
        yield _trouble("warn", words, f"{ROOT}/destinations", since=rfc3339(paused_at))


def _of_destinations(destinations: Sequence[Data]) -> Iterator[Data]:
    for each in destinations:
        name, ends = each["destination"], each["last_hour"]
        failed = sum(ends[kind] for kind in _FAILING)
        if each["breaker"] and each["breaker"]["state"] != "closed":
            words = f"{name} is left alone: its circuit breaker is {each['breaker']['state']}"
            yield _trouble("bad", words, f"{ROOT}/destinations")
        elif failed and failed >= ends["delivered"]:
            words = f"{name} fails: {failed:,} of {failed + ends['delivered']:,} callbacks"
            yield _trouble("bad", words, f"{ROOT}/destinations")
        if each["paused"]:
            words = f"{name} is paused; {each['waiting']:,} wait"
            yield _trouble("warn", words, f"{ROOT}/destinations", since=each["paused_since"])
        elif each["waiting"]:
            words = f"{name} has no free slot for {each['waiting']:,} timers that are due"
            yield _trouble("warn", words, f"{ROOT}/destinations")


def _of_rules(held: Sequence[Data], schedules: Sequence[Data]) -> Iterator[Data]:
    for flow in held:
        words = f"The flow {flow['flow_key']} is paused"
        yield _trouble("warn", words, f"{ROOT}/flows", since=flow["paused_since"])
    for schedule in schedules:
        if schedule["last_error"]:
            words = f"The service has paused a schedule: {schedule['last_error']}"
            yield _trouble("bad", words, f"{ROOT}/schedules/{schedule['id']}")


def _of_past(hour: Past) -> Iterator[Data]:
    if failed := hour.counts.get(Status.FAILED, 0):
        more = "" if hour.is_whole else ", of the latest that were looked at"
        what = "timer of the last hour has" if failed == 1 else "timers of the last hour have"
        link = f"{ROOT}/timers?status=failed&execute_after={rfc3339(hour.since)}"
        yield _trouble("bad", f"{failed:,} {what} failed{more}", link)
