"""The storages of all cells, and the ways of asking them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import trio

from timer_trio.domain.cells import CellMap, CellNumber
from timer_trio.domain.errors import (
    CellAwayError,
    ContentionError,
    JustDividedError,
    ProjectNotFoundError,
    QuotaUsedUpError,
    RowsFailedError,
    StorageUnavailableError,
    TimerTrioError,
)
from timer_trio.domain.keys import key_shard
from timer_trio.domain.project import ProjectId
from timer_trio.domain.quota import part_of
from timer_trio.storage.protocols import Storage
from timer_trio.storage.routed.common import read_common, read_keys, write_common, write_keys
from timer_trio.storage.routed.side_by_side import side_by_side

T = TypeVar("T")
Ask = Callable[[Storage], Awaitable[T]]

FIRST: Final = CellNumber(0)
"""The cell whose answer counts where all are told the same."""


class Cells:
    """A storage of each cell of a map; `is_connected` tells of which are there, as far as is known.

    Who asks one cell waits for no other. What goes wrong in a cell names it. `is_open` tells which
    may be asked: as long as it is not known what a database has, what it lacks may be in another.
    """

    def __init__(
        self,
        cells: CellMap,
        storages: Sequence[Storage],
        is_connected: Callable[[CellNumber], bool],
        is_open: Callable[[CellNumber], bool] = lambda _: True,
    ) -> None:
        self._cells = cells
        self._storages = storages
        self._is_connected = is_connected
        self._is_open = is_open
        self._turn = trio.Lock()

    @property
    def _all(self) -> Sequence[CellNumber]:
        """Those that have shards now."""
        return self._cells.numbers

    async def unite(self, cell: CellNumber) -> None:
        """Have a cell know what all are to know: projects, keys, secrets and pauses of the first.

        It knows that already unless it is new, or a change has ended half-way. The same call again
        changes nothing.

        Raises:
            StorageUnavailableError, ContentionError: some of it may be there; call it again.
            ProjectNameTakenError: the cell has another project of that name or number.
        """
        if cell != FIRST:
            async with self._turn:
                await self._have_know(cell)

    async def _have_know(self, cell: CellNumber) -> None:
        """Have a cell know what the first does, whoever else changes that meanwhile."""
        told = None
        while told != (common := await self._ask(FIRST, read_common)):
            lacking = await self._ask(cell, partial(write_common, common))
            keys = await self._ask(FIRST, partial(read_keys, lacking))
            await self._ask(cell, partial(write_keys, keys))
            told = common

    async def _ask(self, cell: CellNumber, ask: Ask[T]) -> T:
        """Ask one cell; what it cannot do now names it."""
        return await self._believed(cell, ask, self._cells.has_more(cell), reads=False)

    async def _read(self, cell: CellNumber, ask: Ask[T]) -> T:
        """Ask one cell what it would answer otherwise if it had not all of its rows any more."""
        return await self._reading(cell, ask)()

    def _reading(self, cell: CellNumber, ask: Ask[T]) -> Callable[[], Awaitable[T]]:
        """Return what reads from a cell later, chosen by what it has now."""
        return partial(self._believed, cell, ask, self._cells.has_more(cell), reads=True)

    async def _believed(
        self,
        cell: CellNumber,
        ask: Ask[T],
        had_more: bool,  # noqa: FBT001 - whether shards were to be moved away when it was chosen
        *,
        reads: bool,
    ) -> T:
        try:
            answer = await self._ask_named(cell, ask)
        except (StorageUnavailableError, ContentionError):
            raise  # it is asked for again
        except TimerTrioError as error:
            if not had_more:
                raise
            refusal = error
        else:
            if had_more and reads:
                await self._require_undivided(cell)
            return answer
        await self._require_undivided(cell)
        raise refusal

    async def _require_undivided(self, cell: CellNumber) -> None:
        """Check that what has not been found was not there.

        Raises:
            JustDividedError: some shards have been moved away meanwhile.
        """
        kept = await self._storages[cell].kept_map()
        if kept is not None and kept.held == self._cells.cells[cell]:
            raise JustDividedError

    async def _ask_named(self, cell: CellNumber, ask: Ask[T]) -> T:
        range_ = self._cells.cells[cell]
        if not self._is_open(cell):
            raise CellAwayError(f"cell {range_} is away", "it is not known yet what is in it")
        try:
            return await ask(self._storages[cell])
        except RowsFailedError as error:
            raise RowsFailedError(f"cell {range_}: {error}") from error
        except StorageUnavailableError as error:
            raise CellAwayError(f"cell {range_} is away", str(error)) from error
        except QuotaUsedUpError as error:
            raise QuotaUsedUpError(
                error.project, error.known, error.max_live, error.more, cell=range_
            ) from None

    async def _ask_these(self, cells: Sequence[CellNumber], ask: Ask[T]) -> Sequence[T]:
        """Read from several cells side by side; answers in their order."""
        return await side_by_side([self._reading(cell, ask) for cell in cells])

    async def _ask_all(self, ask: Ask[T]) -> Sequence[T]:
        return await self._ask_these(self._all, ask)

    async def _ask_any(self, ask: Ask[T]) -> T:
        """Ask of what all cells know alike: the first of them that answers."""
        connected = [cell for cell in self._all if self._is_connected(cell)]
        *others, last = connected or [FIRST]
        for cell in others:
            try:
                return await self._ask(cell, ask)
            except StorageUnavailableError:
                continue
        return await self._ask(last, ask)

    async def _tell_all(self, tell: Ask[T]) -> T:
        """Tell all cells the same. The first decides, and its answer counts.

        Raises:
            StorageUnavailableError: one is away, and none was told; or the same is to be told
                again, as some may have heard it.
        """
        async with self._changing():
            answer = await self._ask(FIRST, tell)
            await self._tell_others(tell)
            return answer

    async def _tell_others(self, tell: Ask[T]) -> None:
        await self._tell_these(self._all[1:], tell)

    async def _tell_these(self, cells: Sequence[CellNumber], tell: Ask[T]) -> None:
        await side_by_side([partial(self._tell, cell, tell) for cell in cells])

    async def _tell(self, cell: CellNumber, tell: Ask[T]) -> None:
        try:
            await self._ask(cell, tell)
        except ProjectNotFoundError:  # the project's creation has ended half-way
            await self._have_know(cell)
            await self._ask(cell, tell)

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """Begin a change of what all cells are to know: of two, one follows the other.

        Raises:
            StorageUnavailableError: a cell is away, and nothing was changed.
        """
        away = [self._cells.cells[cell] for cell in self._all if not self._is_connected(cell)]
        if away:
            raise CellAwayError(
                f"cell {', '.join(map(str, away))} is away",
                "changes of projects, keys and pauses need all cells",
            )
        async with self._turn:
            yield

    def _cell_of_name(self, project: ProjectId, name: str) -> CellNumber:
        """Return where what a name or an idempotency key leads to is, unless a flow decides."""
        return self._cells.of_shard(key_shard(project, name))

    def _part(self, limit: int | None, cell: CellNumber) -> int | None:
        """Return how much of a limit of live timers is a cell's."""
        if limit is None:
            return None
        return part_of(limit, self._all.index(cell), len(self._all))
