"""The floor: the barest process that claims, sends and settles, to compare the service with.

python -m benchmarks.floor DATA_DIR, then a line on standard input once the timers are written.

In it: the service's own statements for claim and settle, over psycopg in worker threads; claims of
what is due within 200 ms, made 100 ms ahead; settlements every 100 ms; the service's own wait for
answers and for the next instant; one trio task a callback with its own timeout; kept connections
for each destination; a request built by hand when it is claimed, the same bytes as the service's;
httptools for the answer; the same embedded database, in the same session.

Left out: loader, cache and slots (all due times are known beforehand, in a list), heartbeat and
fence, misfire and delivery rules, address guard and name look-up, TLS, limits on an answer, whether
a kept connection is still open, lines for one, retries of anything, typed rows and outcomes, log,
metrics, API. What fails ends the process.
"""

from __future__ import annotations

import random
import resource
import socket
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httptools
import trio
from psycopg.rows import tuple_row

from benchmarks.database import beside_database
from benchmarks.machine import time
from timer_trio.delivery.callback import USER_AGENT
from timer_trio.delivery.launcher import MAX_STARTS
from timer_trio.domain.membership import Identity
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres.connections import Connection, Connections, bounded
from timer_trio.storage.postgres.dialing import Dialer
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.postgres.rows import SPEC_AT
from timer_trio.threads import run_in_thread
from timer_trio.transport.readiness import PATIENCE_S, EpollReadiness

AHEAD_S: Final = 0.1
REACH_S: Final = 0.2
LINGER_S: Final = 0.1
MAX_ROWS: Final = 500
TIMEOUT_S: Final = 30.0

_SESSION: Final = {
    "statement_timeout": "10s",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
_HEAD: Final = (
    "POST {path} HTTP/1.1\r\n"
    "Host: {host}\r\n"
    f"User-Agent: {USER_AGENT}\r\n"
    "Content-Type: application/json\r\n"
)


class Wire:
    """A connection that is kept, and its one answer at a time."""

    def __init__(self, connected: socket.socket, readiness: EpollReadiness) -> None:
        self._socket = connected
        self._parser = httptools.HttpResponseParser(self)
        self._is_complete = False
        self._waiting: trio.lowlevel.Task | None = None
        readiness.register(connected, self._read)

    def send(self, request: bytes) -> None:
        self._is_complete = False
        self._socket.send(request)

    async def wait_answer(self) -> None:
        if not self._is_complete:
            self._waiting = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    def on_message_complete(self) -> None:
        self._is_complete = True

    def _read(self, _is_gone: bool) -> None:  # noqa: FBT001 - as a readiness calls it
        self._parser.feed_data(self._socket.recv(16384))
        if self._is_complete and self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting)
            self._waiting = None


class Destination:
    """Where one URL leads to: its idle connections, and the first lines of a request to it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address: Final = (parts.hostname, parts.port)
        self.head: Final = _HEAD.format(path=parts.path, host=parts.netloc)
        self.idle: Final[list[Wire]] = []


class Callback(NamedTuple):
    """A claimed timer, its request made; one that is due first comes first."""

    due_s: float
    timer_id: UUID
    claim: int
    destination: Destination
    request: bytes


class Floor:
    def __init__(self, connections: Connections, readiness: EpollReadiness) -> None:
        self._connections = connections
        self._readiness = readiness
        self._replica = uuid4()
        self._destinations: dict[str, Destination] = {}
        self._waiting: list[Callback] = []
        self._settled: list[str] = []
        self._written = 0
        self._offset_s = time() - trio.current_time()

    async def load(self) -> Sequence[tuple[float, UUID]]:
        now = datetime.fromtimestamp(time(), UTC)
        nobody = asdict(Identity())
        await self._execute("join", {"replica": self._replica, "now": now, **nobody})
        rows = await self._connections.run(
            lambda connection: connection.execute(
                "SELECT due_at, id FROM timers ORDER BY due_at, id"
            ).fetchall()
        )
        return [(row["due_at"].timestamp() - self._offset_s, row["id"]) for row in rows]

    async def fire_all(self, due: Sequence[tuple[float, UUID]]) -> None:
        async with trio.open_nursery() as flusher:
            flusher.start_soon(self._settle_forever)
            flusher.start_soon(self._readiness.run)
            async with trio.open_nursery() as callbacks:
                alarm = partial(self._readiness.alarm.run, partial(self._start_due, callbacks))
                flusher.start_soon(alarm)
                at = 0
                while at < len(due):
                    await trio.sleep_until(due[at][0] - AHEAD_S)
                    now_s = trio.current_time()
                    end = bisect_right(due, now_s + REACH_S, lo=at, key=lambda timer: timer[0])
                    end = min(end, at + MAX_ROWS)
                    ids = [timer_id for _, timer_id in due[at:end]]
                    callbacks.start_soon(self._claim, ids, now_s)
                    at = end
                # Held open: where no callback is under way, the alarm starts the next one.
                while self._written < len(due):  # noqa: ASYNC110 - ten looks a second cost nothing
                    await trio.sleep(LINGER_S)
            flusher.cancel_scope.cancel()

    async def _claim(self, ids: Sequence[UUID], now_s: float) -> None:
        claim = random.getrandbits(62) + 1
        parameters = {
            "replica": self._replica,
            "claim": claim,
            "ids": ids,
            "until": self._instant(now_s + REACH_S),
            "now": self._instant(now_s),
        }
        for row in await self._execute("claim", parameters):
            heappush(self._waiting, self._callback(claim, row))
        self._readiness.alarm.set(self._waiting[0].due_s)

    def _callback(self, claim: int, row: tuple[Any, ...]) -> Callback:
        timer_id, attempt = row[0], row[3]
        execute_at, url, _, _, payload = row[SPEC_AT : SPEC_AT + 5]
        destination = self._destinations.get(url)
        if destination is None:
            destination = self._destinations[url] = Destination(url)
        request = (
            f"{destination.head}X-Timer-Id: {timer_id}\r\nX-Timer-Attempt: {attempt}\r\n"
            f"X-Timer-Scheduled-At: {execute_at.isoformat()[:-6]}Z\r\nwebhook-id: {timer_id}\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n{payload}"
        ).encode()
        due_s = execute_at.timestamp() - self._offset_s
        return Callback(due_s, timer_id, claim, destination, request)

    def _start_due(self, callbacks: trio.Nursery) -> None:
        now_s = trio.current_time()
        for _ in range(MAX_STARTS):
            if not self._waiting or self._waiting[0].due_s > now_s:
                break
            callback = heappop(self._waiting)
            wire = callback.destination.idle.pop() if callback.destination.idle else None
            if wire is not None:
                wire.send(callback.request)
            callbacks.start_soon(self._end, callback, wire, self._instant(now_s))
        if self._waiting:
            self._readiness.alarm.set(self._waiting[0].due_s)

    async def _end(self, callback: Callback, wire: Wire | None, sent_at: datetime) -> None:
        with trio.move_on_after(TIMEOUT_S):
            if wire is None:
                wire = Wire(await _connect(callback.destination), self._readiness)
                wire.send(callback.request)
            await wire.wait_answer()
            callback.destination.idle.append(wire)
        self._settled.append(
            f'"id":"{callback.timer_id}","claim":{callback.claim},"claim_after":{callback.claim},'
            f'"status":"completed","is_begun":true,"executed_at":"{sent_at.isoformat()}"}}'
        )

    async def _settle_forever(self) -> None:
        while True:
            await trio.sleep(LINGER_S)
            waiting, self._settled = self._settled, []
            for start in range(0, len(waiting), MAX_ROWS):
                batch = waiting[start : start + MAX_ROWS]
                rows = ",".join([f'{{"place":{n},{row}' for n, row in enumerate(batch)])
                now = self._instant(trio.current_time())
                parameters = {"settlements": f"[{rows}]", "attempts": "[]", "now": now}
                await self._execute("settle", parameters)
                self._written += len(batch)

    async def _execute(
        self, query: str, parameters: Mapping[str, object]
    ) -> Sequence[tuple[Any, ...]]:
        return await self._connections.run(partial(_rows, query, parameters))

    def _instant(self, moment_s: float) -> datetime:
        return datetime.fromtimestamp(moment_s + self._offset_s, UTC)


def _rows(
    query: str, parameters: Mapping[str, object], connection: Connection
) -> Sequence[tuple[Any, ...]]:
    with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(QUERIES[query], parameters)
        return cursor.fetchall() if cursor.description else []


async def _connect(destination: Destination) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    try:
        connection.connect(destination.address)
    except BlockingIOError:
        await trio.lowlevel.wait_writable(connection)
    return connection


async def main(data_dir: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    await beside_database(data_dir, _fire_when_told)


async def _fire_when_told(database_url: str) -> None:
    await migrate_database(database_url)
    orders = trio.CapacityLimiter(1)
    connections = Connections(
        Dialer(bounded(database_url)), size=4, settings=_SESSION, on_connect=lambda _session: None
    )
    print("started", flush=True)
    await run_in_thread(sys.stdin.readline, limiter=orders)
    floor = Floor(connections, EpollReadiness(PATIENCE_S))
    due = await floor.load()
    print("loaded", flush=True)
    await floor.fire_all(due)
    await run_in_thread(sys.stdin.readline, limiter=orders)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
