"""A world with flows: it notes each rule as it is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeVar

import trio

from tests.simulation.consumers import PATIENCE_S
from tests.simulation.faults import Faults
from tests.simulation.history import Ruling
from tests.simulation.noted import Noted
from tests.simulation.world import Build, ConnectionLostError, World
from timer_trio.domain.errors import ContentionError, FlowNotFoundError, StorageUnavailableError
from timer_trio.domain.flow import FlowId
from timer_trio.domain.gates import Gate
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.rules import FlowChange, FlowRules, Pause
from timer_trio.domain.timer import Destination, Lane
from timer_trio.run.replica import Replica
from timer_trio.storage.memory.database import DestinationRow, FlowRow, ProjectRow

K = TypeVar("K")
V = TypeVar("V")

SECOND_PROJECT: Final = ProjectId(1)


class FlowWorld(World):
    """A World of two projects, in which people limit and pause."""

    def __init__(self, random: Random, faults: Faults, build: Build, nursery: trio.Nursery) -> None:
        super().__init__(random, faults, build, nursery)
        database = self.database
        database._flows = self._watched(database._flows, self._note_flow)
        database._projects = self._watched(database._projects, self._note_project)
        database._paused_destinations = self._watched(
            database._paused_destinations, self._note_destination
        )

    async def limit(self, flow: FlowId, change: FlowChange) -> bool:
        """Change, pause or resume a flow; returns whether that was acknowledged."""
        return await self._rule(lambda replica: _put_flow(replica, flow, change))

    async def forget(self, flow: FlowId) -> bool:
        """Delete the settings of a flow."""

        async def delete(replica: Replica) -> None:
            now = replica._clock.now()
            await replica._storage.delete_flow(flow, now)

        return await self._rule(delete)

    async def pause(self, gate: ProjectId | Lane, *, resume: bool = False) -> bool:
        """Pause, or resume, a project or one of its destinations."""

        async def pause(replica: Replica) -> None:
            storage, now = (
                replica._storage,
                replica._clock.now(),
            )
            if isinstance(gate, Lane):
                verb = storage.resume_destination if resume else storage.pause_destination
                await verb(gate.project, gate.destination, now)
            else:
                await (storage.resume_project if resume else storage.pause_project)(gate, now)

        return await self._rule(pause)

    async def resume_all(self) -> None:
        """Resume whatever is paused; the limits stay."""
        self.faults.healed = True
        latest = {ruling.gate: ruling.rules for ruling in self.history.rulings}
        for gate, rules in latest.items():
            if rules.paused_at is None:
                continue
            if isinstance(gate, FlowId):
                while not await self.limit(gate, {"paused": False}):
                    pass
            else:
                while not await self.pause(gate, resume=True):
                    pass

    async def _rule(self, call: Callable[[Replica], Awaitable[None]]) -> bool:
        async def rule(replica: Replica) -> None:
            await call(replica)
            replica._look_at_rules()

        process = await self.any_process()
        try:
            await process.request(rule)
        except FlowNotFoundError:
            return True
        except (StorageUnavailableError, ContentionError, ConnectionLostError):
            await trio.sleep(PATIENCE_S)
            return False
        return True

    def _watched(self, rows: dict[K, V], note: Callable[[K, V], None]) -> Noted[K, V]:
        watched = Noted(note)
        watched.update(rows)
        return watched

    def _note_flow(self, flow: FlowId, row: FlowRow) -> None:
        self._note(flow, row.flow.rules)

    def _note_project(self, project: ProjectId, row: ProjectRow) -> None:
        self._note(project, _pausing(row.pause))

    def _note_destination(
        self, destination: tuple[ProjectId, Destination], row: DestinationRow
    ) -> None:
        self._note(Lane(destination[1], destination[0]), _pausing(row.pause))

    def _note(self, gate: Gate, rules: FlowRules) -> None:
        self.history.rulings.append(Ruling(trio.current_time(), gate, rules))


PROJECTS: Final = (DEFAULT_PROJECT, SECOND_PROJECT)


async def _put_flow(replica: Replica, flow: FlowId, change: FlowChange) -> None:
    await replica._storage.put_flow(flow, change, replica._clock.now())


def _pausing(pause: Pause) -> FlowRules:
    return FlowRules(paused_at=pause.paused_at, resumed_at=pause.resumed_at)
