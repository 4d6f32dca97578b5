from __future__ import annotations

import socket
from typing import cast

import pytest
from trio.testing import MockClock

from timer_trio.transport.answer import AnswerReader
from timer_trio.transport.connection import Connection
from timer_trio.transport.pool import ROOM, Pool
from timer_trio.transport.readiness import OnReadable, TaskReadiness
from timer_trio.transport.request import Endpoint
from timer_trio.transport.streams import TcpStream

HERE = Endpoint("http", "here.example", 80)
THERE = Endpoint("http", "there.example", 80)
ANY_S = float("inf")


class FakeStream:
    def __init__(self) -> None:
        self.is_open = True
        self.socket = None

    def close(self) -> None:
        self.is_open = False


class Ears(TaskReadiness):
    """Is told of each connection, and tells it nothing unless a test does."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[OnReadable] = []

    def register(self, _connected: socket.socket, on_readable: OnReadable) -> None:
        self.heard.append(on_readable)


def put(
    pool: Pool, endpoint: Endpoint = HERE, ears: Ears | None = None
) -> tuple[Connection, FakeStream]:
    stream = FakeStream()
    reader = AnswerReader(max_header_bytes=1024, max_body_bytes=1024)
    connected = Connection(cast("TcpStream", stream), "192.0.2.1:80", ears or Ears(), reader)
    pool.put(endpoint, connected)
    return connected, stream


async def test_last_used_connection_goes_out_first() -> None:
    pool = Pool()
    first, _ = put(pool)
    second, _ = put(pool)
    assert pool.take(HERE, within_s=ANY_S) is second
    assert pool.take(HERE, within_s=ANY_S) is first
    assert pool.take(HERE, within_s=ANY_S) is None


async def test_destination_has_its_own_connections() -> None:
    pool = Pool()
    put(pool, THERE)
    assert pool.take(HERE, within_s=ANY_S) is None
    assert len(pool) == 1


async def test_connection_that_spoke_or_closed_while_idle_is_dropped() -> None:
    pool = Pool()
    ears = Ears()
    sound, _ = put(pool)
    _, broken = put(pool, ears=ears)
    ears.heard[0](False)
    assert pool.take(HERE, within_s=ANY_S) is sound
    assert not broken.is_open


async def test_connection_used_too_long_ago_is_passed_over(mock_clock: MockClock) -> None:
    pool = Pool()
    old, _ = put(pool)
    mock_clock.jump(1.5)
    assert pool.take(HERE, within_s=1) is None
    assert pool.take(HERE, within_s=2) is old


@pytest.mark.parametrize("per_destination", [True, False])
async def test_beyond_a_limit_the_oldest_closes(*, per_destination: bool) -> None:
    limits = {"max_idle_per_endpoint" if per_destination else "max_idle": 2}
    pool = Pool(**limits)
    _, oldest = put(pool)
    for _ in range(2):
        _, younger = put(pool, HERE if per_destination else THERE)
    assert not oldest.is_open
    assert younger.is_open
    assert len(pool) == 2


async def test_idle_connection_expires(mock_clock: MockClock) -> None:
    pool = Pool(max_idle_s=10)
    _, old = put(pool, THERE)
    mock_clock.jump(6)
    _, young = put(pool)
    mock_clock.jump(6)
    assert pool.take(THERE, within_s=ANY_S) is None
    pool.close_expired()
    assert (old.is_open, young.is_open) == (False, True)


async def test_room_is_made_by_closing_the_oldest_whatever_they_lead_to() -> None:
    pool = Pool()
    streams = [put(pool, HERE if number % 2 else THERE)[1] for number in range(ROOM + 2)]
    assert pool.make_room()
    assert [stream.is_open for stream in streams] == [False] * ROOM + [True] * 2
    assert pool.make_room()
    assert not pool.make_room()


async def test_room_is_not_made_by_what_is_closed_already() -> None:
    pool = Pool()
    ears = Ears()
    for _ in range(ROOM):
        put(pool, ears=ears)
    _, sound = put(pool)
    for hear in ears.heard:
        hear(False)
    assert pool.make_room()
    assert not sound.is_open
    put(pool, ears=ears)
    ears.heard[-1](False)
    assert not pool.make_room()


async def test_closed_pool_keeps_nothing() -> None:
    pool = Pool()
    _, idle = put(pool)
    pool.close()
    _, returned = put(pool)
    assert (idle.is_open, returned.is_open, len(pool)) == (False, False, 0)
