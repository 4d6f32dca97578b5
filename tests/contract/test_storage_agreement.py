"""Any history has the same answers from both storages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import psycopg
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.timers import ALICE, BOB, EPOCH, NOW, TRANSITIONS, new_timer, seconds
from tests.sampling import WHOLE
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import KeptAnswer, StoreResponse
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage, BulkReply
from timer_trio.domain.errors import (
    NotEndedError,
    NotPendingError,
    TimerNotFoundError,
    TimerTrioError,
)
from timer_trio.domain.membership import ReplicaRecord, ReplicaStats
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import Order, Position, Sort, TimerPage, TimerQuery
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.settlement import Completed, Failed, Release, Retry, Settlement
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import (
    Claim,
    Destination,
    JsonText,
    Lane,
    ResultTarget,
    SpecChange,
    Status,
    Timer,
    TimerId,
    shard_of,
)
from timer_trio.storage import Beat, ClaimReply, HeldClaim, ShardCursor, Storage
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.protocols import PrunePosition

OTHER: Final = ProjectId(7)
TIMERS: Final = [
    replace(
        new_timer(shard=shard, execute_at=NOW + seconds(offset), metadata=metadata),
        project=project,
    )
    for project, shard, offset, metadata in (
        (DEFAULT_PROJECT, 0, 1, {"a": 1}),
        (DEFAULT_PROJECT, 0, 2, {"a": "1"}),
        (OTHER, 7, 1, None),
        (DEFAULT_PROJECT, 7, 3, {}),
        (OTHER, 7, 2, {"a": 1}),
    )
]
DESTINATIONS: Final = [
    url.destination for url in (TIMERS[0].spec.callback.url, read_url("http://a.example/"))
]
RESULTS: Final = [
    new_timer(shard=timer_id.int & 0xFF, execute_at=NOW, callback_payload=payload)
    for timer_id, payload in (
        (TIMERS[0].id, JsonText('{"type": "timer.completed"}')),
        (TIMERS[2].id, None),
    )
]
IDS: Final = [timer.id for timer in (*TIMERS, *RESULTS)]
SHARDS: Final = sorted({shard_of(timer_id) for timer_id in IDS})

LATIN_1: Final = st.characters(min_codepoint=1, max_codepoint=0xFF)

instants = st.integers(0, 4).map(lambda count: NOW + seconds(count))
ids = st.sampled_from(IDS)
replicas = st.sampled_from([ALICE, BOB])
claims = st.sampled_from([Claim(1), Claim(2), Claim(2**63 - 1)])
positions = st.builds(Position, instants, ids)
projects = st.sampled_from([DEFAULT_PROJECT, OTHER])
scalars = st.sampled_from([1, 1.0, "1", True, None])
targets = st.builds(
    ResultTarget,
    url=st.sampled_from(["http://a.example/x", "http://b.example"]).map(read_url),
    headers=st.dictionaries(st.text(LATIN_1), st.text(LATIN_1), max_size=2),
)
changes: st.SearchStrategy[SpecChange] = st.fixed_dictionaries(  # type: ignore[assignment]
    {},
    optional={
        "execute_at": instants,
        "callback_url": st.sampled_from(["http://a.example/x", "http://b.example"]).map(read_url),
        "callback_payload": st.sampled_from([None, JsonText("[1]"), JsonText('"\0"')]),
        "metadata": st.sampled_from([None, {"a": 1}, {"a": [1]}]),
        "misfire_grace_s": st.sampled_from([None, 5.0, -5.0]),
        "retry": st.sampled_from([None, RetryPolicy(), RetryPolicy(delays=(0.5, 2.0))]),
        "store_response": st.sampled_from(StoreResponse),
        "on_completed": st.none() | targets,
        "on_failed": st.none() | targets,
        "signing": st.sampled_from(Signing),
    },
).filter(bool)


statuses = st.integers(100, 999)
durations = st.integers(0, 300_000)
answers = st.builds(
    KeptAnswer,
    headers=st.lists(st.tuples(st.text(LATIN_1), st.text(LATIN_1)), max_size=2).map(tuple),
    body=st.binary(max_size=9),
    is_truncated=st.booleans(),
)
attempts = st.lists(
    st.builds(
        AttemptRecord,
        attempt=st.integers(1, 9),
        started_at=st.none() | instants,
        ended_at=instants,
        outcome=st.sampled_from(["delivered", "rejected", "unknown"]),
        http_status=st.none() | statuses,
        error=st.none() | st.just("why"),
        answer=st.none() | answers,
    ),
    max_size=2,
    unique_by=lambda record: record.attempt,
)
results = st.none() | st.sampled_from(RESULTS)
settlements: st.SearchStrategy[Settlement] = st.one_of(
    st.builds(
        Completed,
        timer_id=ids,
        claim=claims,
        executed_at=instants,
        http_status=statuses,
        duration_ms=durations,
        attempts=attempts,
        result=results,
    ),
    st.builds(
        Failed,
        timer_id=ids,
        claim=claims,
        is_begun=st.booleans(),
        executed_at=st.none() | instants,
        last_error=st.just("why"),
        http_status=st.none() | statuses,
        duration_ms=st.none() | durations,
        failures=st.none() | st.integers(1, 3),
        attempts=attempts,
        result=results,
    ),
    st.builds(
        Retry,
        timer_id=ids,
        claim=claims,
        due_at=instants,
        executed_at=instants,
        last_error=st.just("why"),
        http_status=st.none() | statuses,
        duration_ms=durations,
        failures=st.integers(1, 3),
        first_due_at=st.none() | instants,
        attempts=attempts,
    ),
    st.builds(
        Release,
        timer_id=ids,
        claim=claims,
        status=st.sampled_from([Status.PENDING, Status.EXECUTING, Status.RETRYING]),
        due_at=instants,
    ),
)


queries = st.builds(
    TimerQuery,
    project=projects,
    status=st.none() | st.sampled_from(Status),
    destination=st.none() | st.sampled_from(DESTINATIONS),
    last_error=st.none() | st.sampled_from(["e", "%"]),
    created_after=st.none() | instants,
    created_before=st.none() | instants,
    execute_after=st.none() | instants,
    execute_before=st.none() | instants,
    ended_after=st.none() | instants,
    ended_before=st.none() | instants,
    metadata=st.dictionaries(st.just("a"), st.lists(scalars, max_size=2)),
    sort=st.sampled_from(Sort),
    order=st.sampled_from(Order),
    limit=st.integers(1, 4),
    offset=st.integers(0, 2),
    after=st.none() | positions,
)


bulk_pages = st.builds(
    BulkPage,
    bulk=st.builds(
        Bulk,
        action=st.sampled_from(BulkAction),
        wanted=queries,
        as_of=instants,
        spacing=st.sampled_from([seconds(0), seconds(0.25), seconds(1)]),
        is_dry_run=st.booleans(),
    ),
    after=st.none() | positions,
    size=st.integers(1, 5),
    due_at=instants,
)


@st.composite
def batches(draw: st.DrawFn) -> list[Settlement]:
    """A batch names a timer under a claim once, as the stages do."""
    drawn = draw(st.lists(settlements, max_size=3))
    return list({(one.timer_id, one.claim): one for one in drawn}.values())


@dataclass(frozen=True)
class Step:
    """A verb and what it is asked."""

    verb: str
    arguments: tuple[Any, ...]

    async def take(self, storage: Storage) -> object:
        """Answer in a form that can be compared: errors by kind, batches in one order."""
        try:
            answer = await getattr(storage, self.verb)(*self.arguments)
        except (NotPendingError, NotEndedError) as error:
            return (type(error), error.status)
        except TimerTrioError as error:
            return type(error)
        return sorted(answer) if self.verb == "free" else comparable(answer)


def comparable(answer: object) -> object:  # noqa: PLR0911 - one return a kind
    match answer:
        case Beat():
            return answer.counters, answer.leaving
        case ClaimReply():
            return sorted(answer.claimed, key=lambda timer: timer.id), sorted(answer.moved)
        case TimerPage():
            return list(answer.timers), answer.total, answer.next
        case BulkReply():
            return replace(answer, due=tuple(sorted(answer.due)))
        case ReplicaRecord():
            # The two databases' clocks differ.
            return replace(answer, beaten_at=answer.beaten_at and NOW)
        case list():
            return [comparable(each) for each in answer]
        case _:
            return answer


def asked(verb: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(Step, st.just(verb), st.tuples(*arguments))


cursors = st.builds(ShardCursor, st.sampled_from(SHARDS), instants | st.just(EPOCH), ids) | (
    # Just where a page may have ended.
    st.builds(
        lambda timer: ShardCursor(shard_of(timer.id), timer.spec.execute_at, timer.id),
        st.sampled_from(TIMERS),
    )
)
stats = st.builds(
    ReplicaStats,
    in_flight=st.integers(0, 9),
    cached=st.integers(0, 9),
    clock_offset_s=st.none() | st.floats(-1e9, 1e9),
)
steps = st.one_of(
    asked("create", st.lists(st.sampled_from(TIMERS), max_size=4), instants),
    asked("update", ids, changes, instants, projects),
    asked("cancel", ids, instants, projects),
    asked("redrive", ids, instants, instants, st.none(), projects),
    asked("claim", replicas, claims, st.lists(ids, max_size=4), instants, instants),
    asked("claim", replicas, claims, st.just(IDS), instants, instants),
    asked("settle", batches(), instants),
    asked("join", replicas, instants),
    asked("beat", replicas, stats),
    asked("leave", replicas),
    asked("replicas"),
    asked("sweep", replicas, st.none() | st.integers(0, 2), instants),
    asked("held_claims", replicas, st.none() | ids, st.integers(1, 3)),
    asked("free", replicas, st.lists(st.builds(HeldClaim, ids, claims), max_size=4), instants),
    asked(
        "prune",
        instants,
        st.none() | st.builds(PrunePosition, projects, positions),
        st.integers(1, 5),
    ),
    asked("list", queries),
    asked("bulk", bulk_pages, instants),
    asked("attempts", ids, projects),
    asked(
        "load",
        st.lists(cursors, max_size=2),
        instants,
        st.integers(1, 3),
        st.dictionaries(
            st.sampled_from(["http://a.example:80", "http://b.example:80"])
            .map(Destination)
            .map(Lane),
            instants,
        ),
    ),
)
BEGINNING: Final = [
    Step("create", (TIMERS, NOW)),
    Step("join", (ALICE, NOW)),
    Step("join", (BOB, NOW)),
]


@settings(max_examples=100 if WHOLE else 30, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=st.lists(steps, max_size=30))
def test_any_history_has_the_same_answers_from_both(
    history: list[Step], postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    sql.execute("DELETE FROM timers; DELETE FROM replicas; DELETE FROM attempts")
    trio.run(compare, [*BEGINNING, *history], MemoryStorage(lambda: NOW), postgres)


async def compare(history: list[Step], memory: Storage, postgres: Storage) -> None:
    before: dict[TimerId, Timer] = {}
    for step in history:
        assert await step.take(memory) == await step.take(postgres), step
        after = await found(memory)
        assert after == await found(postgres), step
        for timer_id, timer in after.items():
            check_transition(before.get(timer_id, timer), timer)
        before = after


async def found(storage: Storage) -> dict[TimerId, Timer]:
    timers: dict[TimerId, Timer] = {}
    for timer_id, project in product(IDS, (DEFAULT_PROJECT, OTHER)):
        with suppress(TimerNotFoundError):
            timer = await storage.get(timer_id, project)
            assert timer_id not in timers
            timers[timer_id] = timer
    return timers


def check_transition(before: Timer, after: Timer) -> None:
    if before != after:
        assert after.status in TRANSITIONS[before.status]
