"""The way from a replica to the database, with all that can go wrong on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from random import Random
from typing import Final, NoReturn, TypeVar

import outcome
import trio

from tests.simulation.forwarding import ForwardingStorage
from timer_trio.domain.cells import CellNumber
from timer_trio.domain.errors import ContentionError, RowRefusedError, StorageUnavailableError
from timer_trio.domain.settlement import Settlement
from timer_trio.storage import Hint, HintsLostError, Storage

T = TypeVar("T")

POISON: Final = "poison"
"""The database refuses an outcome whose words hold this."""
ONE_CALL_RECOVERY_S: Final = 0.3
"""A call that failed is made again after a quarter of a second at most."""
GIVEN_BACK_RECOVERY_S: Final = ONE_CALL_RECOVERY_S + 1.0
"""What a leaving process could not send in time it gives back, and the next owner may learn with
his next beat only that he is."""
OUTAGE_RECOVERY_S: Final = 2.0
UNLOCKED_RECOVERY_S: Final = 2.2
"""A locked row is looked at every second, and a swept one freed with a beat and then looked for."""
HEARTBEAT_VERBS: Final = frozenset({"join", "beat", "leave", "sweep"})
BREAK_NOTICED_S: Final = 0.5
"""So long a broken connection may seem sound to who only listens."""


class Fault(StrEnum):
    """How one call can fail."""

    UNAVAILABLE = "unavailable"
    LOST_REPLY = "lost reply"
    CONTENTION = "contention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """The databases cannot be reached: by nobody, or by one process alone.

    `cell`: that of this number alone is away.
    """

    began_s: float
    ended_s: float
    process: str | None = None
    cell: CellNumber | None = None

    def concerns(self, process: str, cell: CellNumber) -> bool:
        """Tell whether it keeps a process from a cell."""
        return self.process in {None, process} and self.cell in {None, cell}


@dataclass(slots=True)
class Faults:
    """What goes wrong in a world, and when.

    `rates` are the shares of calls that fail in each way, `nth` names single calls of the first
    process, counted from 0; a statement takes up to `delay_s` each way. Of the hints a share of
    `lost_hints` is lost to each who listens; where `hints_lost`, none ever arrives, and all know.
    """

    rates: Mapping[Fault, float] = field(default_factory=dict)
    nth: Mapping[int, Fault] = field(default_factory=dict)
    outages: Sequence[Away] = ()
    delay_s: float = 0.01
    lost_hints: float = 0.0
    hints_lost: bool = False
    healed: bool = False

    def is_away(self, process: str, cell: CellNumber, now_s: float) -> bool:
        return any(
            away.began_s <= now_s < away.ended_s
            for away in self.outages
            if away.concerns(process, cell)
        )

    def next_away_s(self, process: str, cell: CellNumber) -> float:
        """When the database of a cell is next out of a process's reach, from now on."""
        now_s = trio.current_time()
        return min(
            (
                max(away.began_s, now_s)
                for away in self.outages
                if away.concerns(process, cell) and away.ended_s > now_s
            ),
            default=float("inf"),
        )

    def fault(self, call: int, random: Random) -> Fault | None:
        if call in self.nth:
            return self.nth[call]
        if self.healed or not self.rates:
            return None
        dice = random.random()
        for fault, rate in self.rates.items():
            dice -= rate
            if dice < 0:
                return fault
        return None


class Thread:
    """Waits for statements to their end, as a thread does; a death ends the waiting, not them.

    `on_point` hears of each point that its process passes on the way to somebody else and back.
    """

    def __init__(self, on_point: Callable[[str], None] = lambda _: None) -> None:
        self._on_point = on_point
        self._waiting: dict[trio.CancelScope, None] = {}
        self.is_dead = False
        self._thawed = trio.Event()
        self._thawed.set()

    async def wait(self, answered: trio.Event) -> None:
        with trio.CancelScope(shield=not self.is_dead) as scope:
            self._waiting[scope] = None
            try:
                await answered.wait()
            finally:
                del self._waiting[scope]
        if self.is_dead:
            await trio.sleep_forever()

    def die(self) -> None:
        self.is_dead = True
        self._thawed.set()
        for scope in self._waiting:
            scope.shield = False

    def freeze(self) -> None:
        if self._thawed.is_set():
            self._thawed = trio.Event()

    def thaw(self) -> None:
        self._thawed.set()

    async def pass_point(self, name: str) -> None:
        """Go on, unless the process is frozen or freezes right here."""
        self._on_point(name)
        await self.thawed()

    async def thawed(self) -> None:
        await self._thawed.wait()


class FaultyStorage(ForwardingStorage):
    """The Storage of one cell as one process reaches it.

    `on_fault` hears of each call that fails, by its verb, and `on_unheard` of each hint that does
    not arrive at this process.
    """

    def __init__(
        self,
        database: Storage,
        *,
        process: str,
        cell: CellNumber,
        thread: Thread,
        faults: Faults,
        random: Random,
        statements: trio.Nursery,
        on_fault: Callable[[str, Fault], None],
        on_unheard: Callable[[Hint], None],
    ) -> None:
        super().__init__(database)
        self._process = process
        self._cell = cell
        self._thread = thread
        self._faults = faults
        self._random = random
        self._statements = statements
        self._on_fault = on_fault
        self._on_unheard = on_unheard
        self.calls: list[str] = []

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        async def settle() -> Sequence[bool | None]:
            if any(POISON in (settlement.last_error or "") for settlement in settlements):
                raise RowRefusedError("a value is out of range")
            return await self._database.settle(settlements, now, skip_locked=skip_locked)

        return await self._ask("settle", settle)

    async def listen(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        """Hear what is said while the database can be reached, a little later; some is lost."""
        if self._faults.hints_lost:
            await trio.sleep(self._faults.delay_s)
            raise HintsLostError("what is notified does not arrive")
        async with trio.open_nursery() as nursery:

            def hear(hint: Hint) -> None:
                nursery.start_soon(self._deliver, hint, on_hint)

            nursery.start_soon(self._break_off_when_away, nursery.cancel_scope)
            await self._database.listen(on_listening, hear)
        raise StorageUnavailableError("the connection broke")

    async def _deliver(self, hint: Hint, on_hint: Callable[[Hint], None]) -> None:
        if self._random.random() < self._faults.lost_hints:
            self._on_unheard(hint)
            return
        await trio.sleep(self._random.uniform(0.0, self._faults.delay_s))
        await self._thread.thawed()
        on_hint(hint)

    async def _break_off_when_away(self, listening: trio.CancelScope) -> None:
        await trio.sleep_until(
            self._faults.next_away_s(self._process, self._cell) + BREAK_NOTICED_S
        )
        listening.cancel()

    async def _ask(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        fault = self._faults.fault(len(self.calls), self._random)
        self.calls.append(verb)
        answers: list[outcome.Outcome[T]] = []
        answered = trio.Event()

        async def statement() -> None:
            answers.append(await outcome.acapture(self._statement, verb, call, fault))
            await self._thread.pass_point(f"{verb} answered")
            answered.set()

        if not self._thread.is_dead:
            self._statements.start_soon(statement)
        await self._thread.wait(answered)
        return answers[0].unwrap()

    async def _statement(
        self, verb: str, call: Callable[[], Awaitable[T]], fault: Fault | None
    ) -> T:
        await self._thread.pass_point(f"{verb} asked")
        await self._travel()
        if fault is not None:
            self._on_fault(verb, fault)
        if fault is Fault.UNAVAILABLE:
            raise StorageUnavailableError("no connection")
        if fault is Fault.CONTENTION:
            raise ContentionError("deadlock detected")
        answer = await call()
        await self._travel()
        if fault is Fault.LOST_REPLY:
            raise StorageUnavailableError("the reply was lost")
        return answer

    async def _travel(self) -> None:
        if self._faults.delay_s:
            await trio.sleep(self._random.uniform(0.0, self._faults.delay_s))
        if self._faults.is_away(self._process, self._cell, trio.current_time()):
            raise StorageUnavailableError("the database is away")
