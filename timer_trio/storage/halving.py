"""Which rows a statement fails for: found by writing fewer of them together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from timer_trio.domain.errors import RowRefusedError, RowsFailedError

Row = TypeVar("Row")

Statement = Callable[[Sequence[Row]], Awaitable[object]]
OnFailed = Callable[[Row, RowRefusedError | RowsFailedError], None]


async def by_halves(
    rows: Sequence[Row], statement: Statement[Row], on_failed: OnFailed[Row]
) -> None:
    """Call `statement` with all rows; where one of them makes it fail, with halves, down to that.

    `on_failed` gets each row for which it fails alone. The statement must work with no row at all:
    one that fails even so fails for the state of the database.

    Raises:
        StorageUnavailableError: the database is in a state in which it does none of this.
        ContentionError: as the statement raises it.
    """
    try:
        await statement(rows)
    except RowRefusedError as error:
        await _part(rows, statement, on_failed, error)
    except RowsFailedError as error:
        await statement(())
        await _part(rows, statement, on_failed, error)


async def _part(
    rows: Sequence[Row],
    statement: Statement[Row],
    on_failed: OnFailed[Row],
    error: RowRefusedError | RowsFailedError,
) -> None:
    if len(rows) == 1:
        on_failed(rows[0], error)
        return
    middle = len(rows) // 2
    for half in (rows[:middle], rows[middle:]):
        try:
            await statement(half)
        except (RowRefusedError, RowsFailedError) as failure:
            await _part(half, statement, on_failed, failure)
