"""Divides a database between two cells, beside the work.

The command `cells split` does it, in steps. What has been done is read from the databases anew by
each run, so that any of them may be killed anywhere, and the next goes on:

- The target is told that it is being filled, which no replica serves, and subscribes to the shards
  that are to be its own: rows are copied, and then follow as they change.
- Shards are closed, and once nothing is under way in them they leave the source, in one
  transaction.
- What was written up to there arrives. The subscription ends, the target gets what all cells know,
  and is opened.
- What both have of each other is deleted.

Until all has arrived `undo` takes all of it back.

That all has arrived is known by the place in the source's WAL that the target has confirmed, which
comes after the last that was written for these shards. Nothing is counted besides: that would take
seconds, within which no timer of theirs fires.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier

from timer_trio.storage.migrations import leftovers, moving
from timer_trio.storage.migrations.builds import alone
from timer_trio.storage.migrations.divisible import lacking
from timer_trio.storage.migrations.division import (
    REPLICATED,
    CellDatabase,
    Division,
    find,
    kept_of,
)
from timer_trio.storage.migrations.errors import BuildPutOffError, MigrationError
from timer_trio.storage.migrations.handover import hand_over, open_target, tell_map
from timer_trio.storage.migrations.migrate import migrate
from timer_trio.storage.migrations.partition_days import copy_days
from timer_trio.storage.migrations.replication import Replication, end_publishing
from timer_trio.storage.migrations.shape import read_table
from timer_trio.storage.migrations.taken import Connection

DRAIN_S: Final = 3.0

Tell = Callable[[str], object]
Progress = Generator[str, None, None]

_STEPS: Final = (
    """\
1. The new database gets the schema, and follows the old one by logical replication: all rows are
   copied, and then what changes. Nobody waits for it.""",
    """\
2. These shards are closed: no callback of theirs begins, and those under way end. Requests are
   still answered.""",
    """\
3. They leave the old database in one transaction, which locks everybody out for some milliseconds.
   What has been written until then arrives in the new one, and that is opened.""",
    """\
4. What each has of the other is deleted, by pages of 25 ms, half of the time.""",
    "It can be stopped at any time and called again; until step 3 is done --undo takes it back.",
)


def plan(databases: Sequence[CellDatabase], source_url: str | None = None) -> Sequence[str]:
    """Say what `split` would do next, and what is missing for it; raises as that does."""
    division = find(databases)
    if division is None:
        return [_nothing_to_split(databases)]
    table = read_table(division.source.connection)
    begun = "It is begun. " if division.is_begun else ""
    lines = [
        (
            f"{begun}The shards {division.moved} are in the database of {division.source.cell},"
            f" whose `timers` has about {table.rows} rows and takes {table.size / 1e9:.1f} GB. They"
            " are moved to a database of their own:"
        ),
        *_STEPS,
    ]
    missing = lacking(division, is_own_url=source_url is None)
    return [*lines, *(f"Missing: {each}." for each in missing)]


def split(
    databases: Sequence[CellDatabase],
    tell: Tell,
    *,
    source_url: str | None = None,
    drain_s: float = DRAIN_S,
) -> Progress:
    """Move the last shards that a database has of another cell there; yields how far it is.

    The connections must be in autocommit mode, and are the owners'. `source_url`: how the target's
    server reaches the source; None: as we do. `drain_s`: how long callbacks that are under way are
    waited for.

    Raises:
        BuildBusyError: somebody else changes tables of one of them.
        BuildPutOffError: not now.
        MigrationError: it cannot be done, and why. What is begun stays, and can be gone on with.
    """
    division = find(databases)
    if division is None:
        tell(_nothing_to_split(databases))
        yield from _end(databases, tell)
        return
    if not division.is_begun:
        yield from _clean(databases, tell)  # of an earlier one
    with _alone(division):
        yield from _divide(division, tell, source_url, drain_s)
    yield from _end(databases, tell)
    if following := find(databases):
        tell(f"call it again to move the shards {following.moved}")


def undo(databases: Sequence[CellDatabase], tell: Tell) -> bool:
    """Take back what is begun, as long as not all has arrived; False: nothing is.

    Raises as `split`.
    """
    division = find(databases)
    if division is None:
        return False
    with _alone(division):
        source, target = division.source.connection, division.target.connection
        replication = Replication(division, division.source.url)
        if division.is_switched:
            _take_back(division, replication)
        was_closed = moving.reopen(source)
        had_subscription = replication.end_subscription()
        had_rest = end_publishing(source)
        if was_begun := division.is_begun:
            tell(f"emptying the database of {division.target.cell}")
            _empty(target)
    return was_closed or had_subscription or had_rest or was_begun


def _take_back(division: Division, replication: Replication) -> None:
    if not replication.is_begun:
        raise MigrationError(
            f"all of the shards {division.moved} has arrived in the database of"
            f" {division.target.cell} already: run this again without --undo, to its end"
        )
    moving.take_back(division)


def _divide(division: Division, tell: Tell, source_url: str | None, drain_s: float) -> Progress:
    replication = Replication(division, source_url or division.source.url)
    if not division.is_switched:
        # A run that was killed may have left them closed: they are not due to be so yet.
        moving.reopen(division.source.connection)
        _require(division, is_own_url=source_url is None)
        yield from _fill(division, replication, tell)
        tell(f"closing the shards {division.moved}")
        closed_at = time.monotonic()
        with moving.closed(division):
            moving.switch(division, drain_s)
        tell("they have left")
    else:
        tell(f"the shards {division.moved} have left the database of {division.source.cell}")
        closed_at = None
    for late in _arrive(replication):
        tell(late)
    tell("all has arrived")
    hand_over(division)
    open_target(division)
    tell(_opened(division, closed_at))


def _opened(division: Division, closed_at: float | None) -> str:
    opened = f"the shards {division.moved} are in their own database now"
    if closed_at is None:
        return f"{opened}; an earlier run has closed them"
    return f"{opened}; they were closed for {time.monotonic() - closed_at:.1f} s"


def _require(division: Division, *, is_own_url: bool) -> None:
    if missing := [*lacking(division, is_own_url=is_own_url)]:
        raise MigrationError("\n".join(missing))


def _fill(division: Division, replication: Replication, tell: Tell) -> Iterator[str]:
    """Have the target be the same as the source, but for what was written in the last second."""
    target = division.target.connection
    if steps := migrate(target):
        tell(f"applied {len(steps)} steps of the schema to the database of {division.target.cell}")
    if not division.is_begun:
        target.execute(
            "INSERT INTO cell_map (map, own, moving) VALUES (%s, %s, %s)",
            [str(division.cells), str(division.moved), str(division.moved)],
        )
        tell(f"the database of {division.target.cell} is being filled")
    copy_days(division)
    replication.begin()
    tell("copying; what is written meanwhile follows")
    for progress in replication.wait_copied():
        copy_days(division)
        yield progress
    tell("all is copied")
    for table in REPLICATED:
        target.execute(SQL("ANALYZE {}").format(Identifier(table)))
    yield from replication.wait_near()


def _arrive(replication: Replication) -> Iterator[str]:
    """Wait until the target has all that was written in the source, and follow it no more."""
    if replication.is_begun:
        replication.require_sound()
        yield from replication.wait_arrived(replication.written())
        replication.end_subscription()


def _end(databases: Sequence[CellDatabase], tell: Tell) -> Progress:
    """Do what is left to do once shards have been moved."""
    tell_map(databases, _map_of(databases))
    yield from _clean(databases, tell)


def _clean(databases: Sequence[CellDatabase], tell: Tell) -> Progress:
    cleaned = leftovers.cells_with_leftovers(databases)
    if not cleaned:
        return
    with ExitStack() as stack:
        for each in cleaned:
            stack.enter_context(alone(each.connection))
        for each in cleaned:
            end_publishing(each.connection)
        tell("deleting what each has of the other; this can be stopped and called again")
        for each in cleaned:
            kept = kept_of(each.connection)
            for copied in leftovers.clean(each.connection, kept.held if kept else each.cell):
                yield f"{each.cell}: {copied.done} of {copied.blocks} blocks"
        for each in cleaned:
            leftovers.drop_detached(each.connection)
    tell("nothing is left of it")


def _empty(target: Connection) -> None:
    with target.transaction():
        tables = SQL(", ").join(map(Identifier, REPLICATED))
        target.execute(SQL("TRUNCATE {}").format(tables))
        target.execute("DELETE FROM cell_map")


@contextmanager
def _alone(division: Division) -> Iterator[None]:
    """Be the only one who changes tables, in both."""
    with alone(division.source.connection), alone(division.target.connection):
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            raise BuildPutOffError("it was cancelled: run this again to go on") from error


def _nothing_to_split(databases: Sequence[CellDatabase]) -> str:
    return (
        f"nothing to split: no database has shards of others than its own, of {_map_of(databases)}"
    )


def _map_of(databases: Sequence[CellDatabase]) -> str:
    return ";".join(str(each.cell) for each in databases)
