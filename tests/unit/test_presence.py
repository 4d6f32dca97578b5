from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.config import StartRefusedError
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.shards import Shards
from timer_trio.run.presence import Presence


class Database(Heartbeat):
    """What a replica asks of the database until it has joined, and what each call comes to."""

    def __init__(self, errors: dict[int, Exception]) -> None:
        self.calls: list[str] = []
        self._errors = errors

    async def join(self, *, alone: bool) -> None:
        await self._call("join alone" if alone else "join")

    async def prepare(self) -> None:
        await self._call("prepare")

    async def begin(self) -> None:
        await self._call("begin")

    async def _call(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append(name)
        if error := self._errors.get(len(self.calls) - 1):
            raise error


def join(database: Database) -> Presence:
    presence = Presence(
        heartbeat=database,
        shards=Shards(),
        prepare=database.prepare,
        alone=False,
        begin=database.begin,
    )
    trio.run(presence.join, clock=MockClock(autojump_threshold=0))
    return presence


def test_schema_is_looked_at_again_once_the_row_is_there() -> None:
    database = Database({})
    assert join(database).has_joined
    assert database.calls == ["prepare", "join", "prepare", "begin"]


@pytest.mark.parametrize("call", range(4))
def test_database_that_is_away_is_waited_for(call: int) -> None:
    database = Database({call: StorageUnavailableError("no connection")})
    assert join(database).has_joined
    assert database.calls[call + 1 :] == ["prepare", "join", "prepare", "begin"]


@pytest.mark.parametrize("call", [0, 2])
def test_schema_that_has_become_too_new_is_no_state_that_goes_by(call: int) -> None:
    with pytest.raises(StartRefusedError):
        join(Database({call: StartRefusedError("too new")}))
