"""No request holds the event loop for long: a turn of it is what delays every callback."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final
from uuid import UUID

import pytest
import trio

from tests.api_under_test import API_KEY, MAX_BODY_BYTES, ApiUnderTest, served_api
from tests.hostile_shapes import HostileShape, hostile_shapes
from tests.sampling import is_sampled
from timer_trio.api.fields.retry import MAX_ATTEMPTS
from timer_trio.api.routes.batch import MAX_BATCH_BYTES
from timer_trio.domain.answer import KEPT_BODY_BYTES, MAX_KEPT_HEADERS, KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.timer import NewTimer, TimerId
from timer_trio.run.process import GC_THRESHOLDS

pytestmark = pytest.mark.timed

TURN_S: Final = 0.008
"""5 ms, and what a busy machine may add."""
MEGABYTE_S: Final = 0.001
"""And what the system and Python's own calls take of a body as a whole: copies and searches."""
READ_BYTES: Final = 65_536
_FULL_PAGE: Final = 200
_TIMES: Final = 3
"""What holds the loop does so each time; what the machine adds comes and goes."""


class LongestStep(trio.abc.Instrument):
    """Keeps the longest step of a task, in CPU time: others use this machine as well."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began_s = time.thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's signature
        self._began_s = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's signature
        self.seconds = max(self.seconds, time.thread_time() - self._began_s)


async def test_no_hostile_request_holds_the_event_loop() -> None:
    shapes = list(hostile_shapes(MAX_BODY_BYTES, MAX_BATCH_BYTES))
    assert len(shapes) > 150
    allowed = {shape.claim: allowed_s(shape) for shape in shapes}
    longest = await longest_turns(shape for n, shape in enumerate(shapes) if is_sampled(n, of=4))
    assert {claim: s for claim, s in longest.items() if s > allowed[claim]} == {}


async def test_no_great_answer_holds_the_event_loop() -> None:
    longest = await longest_turns([], with_answers=True)
    assert {claim: s for claim, s in longest.items() if s > TURN_S} == {}


async def longest_turns(
    shapes: Iterable[HostileShape],
    *,
    with_answers: bool = False,
    most_bytes: int = MAX_BODY_BYTES,
) -> dict[str, float]:
    """Make each request of a server in this process; answers with its longest turn in seconds."""
    longest: dict[str, float] = {}
    async with served_api(max_body_bytes=most_bytes) as (api, url):
        port = int(url.rpartition(":")[2])
        await ask(port, HostileShape("what is imported and compiled at first", b"{}"))
        if with_answers:
            shapes = await great_answers(api)
        forget_many(api)
        for shape in list(shapes):
            for _ in range(_TIMES):
                longest[shape.claim] = await longest_turn(port, shape)
                if longest[shape.claim] <= allowed_s(shape):
                    break
    return longest


def allowed_s(shape: HostileShape) -> float:
    return TURN_S + len(shape.body) / 1e6 * MEGABYTE_S


async def longest_turn(port: int, shape: HostileShape) -> float:
    with rare_collections(), measured() as step:
        answer = await ask(port, shape)
    assert answer.startswith(b"HTTP/1.1 "), shape.claim
    assert not answer.startswith(b"HTTP/1.1 5"), (shape.claim, answer)
    return step.seconds


def forget_many(api: ApiUnderTest) -> None:
    """Write no batches and imports: what storage in memory takes for it is not the service's."""

    async def forget(timers: Sequence[NewTimer], now: datetime) -> None:
        pass

    api.storage.create_many = forget  # type: ignore[method-assign]  # see above


async def great_answers(api: ApiUnderTest) -> list[HostileShape]:
    """Create timers whose answers are great."""
    url = "https://example.com/" + "é" * 2_000
    for _ in range(_FULL_PAGE):
        await api.create(callback_url=url)
    payload = json.dumps("é\n" * 20_000)
    timer = await api.create(callback_payload=payload, metadata={"text": "é\n" * 10_000})
    keep_attempts(api, TimerId(UUID(timer["id"])))
    for number in range(_FULL_PAGE):
        await api.client.put(f"/flows/{number}", json={"max_in_flight": 1})
        await api.client.post("/schedules", json={"cron": "7 4 29 2 *", "callback_url": url})
    paths = (
        f"/timers/{timer['id']}",
        f"/timers/{timer['id']}/attempts",
        f"/schedules?limit={_FULL_PAGE}",
        f"/flows?limit={_FULL_PAGE}",
        f"/audit?limit={_FULL_PAGE}",
        f"/timers?limit={_FULL_PAGE}",
        f"/timers?limit={_FULL_PAGE}&metadata.text=" + "1" * 10_000,
        "/metrics",
        "/openapi.json",
        "/docs",
        "/replicas",
        "/health",
    )
    return [HostileShape(f"GET {path[:60]}", method="GET", path=path) for path in paths]


def keep_attempts(api: ApiUnderTest, timer_id: TimerId) -> None:
    """As many as a timer may have, redriven a few times, half of their answers no text."""
    headers = tuple((f"X-{number}", "é" * 100) for number in range(MAX_KEPT_HEADERS))
    api.storage._attempts[timer_id] = [
        AttemptRecord(
            attempt=attempt,
            started_at=api.clock.now(),
            ended_at=api.clock.now(),
            outcome="rejected",
            http_status=500,
            answer=KeptAnswer(headers, b"\xff\n"[attempt % 2 :] * KEPT_BODY_BYTES, True),
        )
        for attempt in range(1, 4 * MAX_ATTEMPTS)
    ]


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the garbage collector work as seldom as in the service."""
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()


@contextmanager
def measured() -> Iterator[LongestStep]:
    step = LongestStep()
    trio.lowlevel.add_instrument(step)
    yield step
    trio.lowlevel.remove_instrument(step)


async def ask(port: int, shape: HostileShape) -> bytes:
    head = {
        "Host": "api",
        "X-API-Key": API_KEY,
        "Content-Type": shape.media,
        "Content-Length": str(len(shape.body)),
        "Connection": "close",
        **shape.headers,
    }
    lines = [f"{shape.method} {shape.path} HTTP/1.1", *(f"{n}: {v}" for n, v in head.items())]
    answer = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with suppress(trio.BrokenResourceError):  # it may be answered before all is sent
            await stream.send_all("\r\n".join([*lines, "", ""]).encode())
            for start in range(0, len(shape.body), READ_BYTES):
                await stream.send_all(shape.body[start : start + READ_BYTES])
        with suppress(trio.BrokenResourceError):
            while data := await stream.receive_some(READ_BYTES):
                answer += data[:100]
    return answer
