"""The floor: the barest process that claims, sends and settles, to compare the service with.

python -m benchmarks.floor DATA_DIR, then a line on standard input once the timers are written.

In it: the service's own statements for claim and settle, over psycopg in worker threads; claims of
what is due within 200 ms, made 100 ms ahead; settlements every 100 ms; one trio task a callback
with its own timeout; kept connections for each destination; a request head built by hand, the same
bytes as the service's; httptools for the answer; the same embedded database, in the same session.

Left out: loader, cache and slots (all due times are known beforehand, in a list), heartbeat and
fence, misfire and delivery rules, address guard and name look-up, TLS, limits on an answer, whether
a kept connection is still open, retries of anything, typed rows and outcomes, httpx's types, log,
metrics, API. What fails ends the process.
"""

from __future__ import annotations

import random
import resource
import socket
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httptools
import trio
from psycopg.rows import tuple_row

from benchmarks.database import beside_database
from benchmarks.machine import time
from timer_trio.delivery.callback import USER_AGENT
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres.connections import Connection, Connections, bounded
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.threads import run_in_thread

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


class Answer:
    def __init__(self) -> None:
        self.is_complete = False
        self.parser = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        self.is_complete = True


class Destination:
    """Where one URL leads to: its idle connections, and the first lines of a request to it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address: Final = (parts.hostname, parts.port)
        self.head: Final = _HEAD.format(path=parts.path, host=parts.netloc)
        self.idle: Final[list[socket.socket]] = []


class Floor:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._replica = uuid4()
        self._destinations: dict[str, Destination] = {}
        self._settled: list[str] = []
        self._written = 0
        self._offset_s = time() - trio.current_time()

    async def load(self) -> Sequence[tuple[float, UUID]]:
        now = datetime.fromtimestamp(time(), UTC)
        nobody = {"host": "", "pid": 0, "version": ""}
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
            async with trio.open_nursery() as callbacks:
                at = 0
                while at < len(due):
                    await trio.sleep_until(due[at][0] - AHEAD_S)
                    now_s = trio.current_time()
                    end = bisect_right(due, now_s + REACH_S, lo=at, key=lambda timer: timer[0])
                    end = min(end, at + MAX_ROWS)
                    ids = [timer_id for _, timer_id in due[at:end]]
                    callbacks.start_soon(self._claim, ids, now_s, callbacks)
                    at = end
            while self._written < len(due):  # noqa: ASYNC110 - ten looks a second cost nothing
                await trio.sleep(LINGER_S)
            flusher.cancel_scope.cancel()

    async def _claim(self, ids: Sequence[UUID], now_s: float, callbacks: trio.Nursery) -> None:
        claim = random.getrandbits(62) + 1
        parameters = {
            "replica": self._replica,
            "claim": claim,
            "ids": ids,
            "until": self._instant(now_s + REACH_S),
            "now": self._instant(now_s),
        }
        for row in await self._execute("claim", parameters):
            callbacks.start_soon(self._fire, claim, row)

    async def _fire(self, claim: int, row: tuple[Any, ...]) -> None:
        timer_id, attempt, _, _, _, _, _, execute_at, url, _, _, payload, *_ = row
        await trio.sleep_until(execute_at.timestamp() - self._offset_s)
        sent_at = self._instant(trio.current_time())
        destination = self._destinations.get(url)
        if destination is None:
            destination = self._destinations[url] = Destination(url)
        request = (
            f"{destination.head}X-Timer-Id: {timer_id}\r\nX-Timer-Attempt: {attempt}\r\n"
            f"X-Timer-Scheduled-At: {execute_at.isoformat()[:-6]}Z\r\nwebhook-id: {timer_id}\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n{payload}"
        ).encode()
        with trio.move_on_after(TIMEOUT_S):
            await _exchange(destination, request)
        self._settled.append(
            f'"id":"{timer_id}","claim":{claim},"claim_after":{claim},"status":"completed",'
            f'"is_begun":true,"executed_at":"{sent_at.isoformat()}"}}'
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


async def _exchange(destination: Destination, request: bytes) -> None:
    idle = destination.idle
    connection = idle.pop() if idle else await _connect(destination)
    connection.send(request)
    answer = Answer()
    while not answer.is_complete:
        await trio.lowlevel.wait_readable(connection)
        answer.parser.feed_data(connection.recv(16384))
    idle.append(connection)


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
        bounded(database_url), size=4, settings=_SESSION, on_connect=lambda _session: None
    )
    print("started", flush=True)
    await run_in_thread(sys.stdin.readline, limiter=orders)
    floor = Floor(connections)
    due = await floor.load()
    print("loaded", flush=True)
    await floor.fire_all(due)
    await run_in_thread(sys.stdin.readline, limiter=orders)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
