"""The moment at which shards go from one database to another.

They are closed at first: replicas claim nothing in them any more, while callbacks that are under
way end. Then, in one transaction, they leave the source: their partitions are detached, and nothing
can be written there from its commit on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from timer_trio.domain.cells import ALL, UNTOLD, Cell
from timer_trio.domain.releases import listed
from timer_trio.storage.migrations.division import (
    DETACHED,
    CellDatabase,
    Division,
    detached_tables,
    kept_of,
    shards_of,
)
from timer_trio.storage.migrations.errors import BuildPutOffError, MigrationError
from timer_trio.storage.migrations.patience import (
    IN_THE_WAY,
    LOCK_WAIT,
    execute_patiently,
    in_the_way,
    rest,
)
from timer_trio.storage.migrations.shape import partition_name
from timer_trio.storage.migrations.taken import Connection
from timer_trio.storage.postgres.connections import connect

NOTICE_S: Final = 0.5
"""Within it each replica notices that shards are closed."""
LOOK_S: Final = 0.02
LOCK_PAUSE_S: Final = 0.1

SCHEDULES: Final = "schedules_of_this_cell"
"""The constraint that keeps schedules out which are another cell's now."""

_CLOSE: Final = """
    INSERT INTO cell_map (map, own, moving) VALUES (%(map)s, %(own)s, %(moving)s)
    ON CONFLICT (only_one) DO UPDATE SET moving = excluded.moving
"""
_REOPEN: Final = "UPDATE cell_map SET moving = NULL WHERE moving IS NOT NULL AND moving <> own"
# No row says the same.
_FORGET: Final = "DELETE FROM cell_map WHERE map = %(all)s AND own = %(all)s AND moving IS NULL"

_CLAIMED: Final = """
    SELECT id::text FROM timers
    WHERE claimed_by IS NOT NULL AND shard BETWEEN %s AND %s ORDER BY id
"""
_UNTOLD: Final = """
    SELECT format('%%s:%%s', host, pid) FROM replicas
    WHERE map IS DISTINCT FROM %s ORDER BY host, pid
"""
_PARTITIONS: Final = r"""
    SELECT c.relname, bound[1]::integer, bound[2]::integer - 1
    FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
    CROSS JOIN LATERAL regexp_match(
        pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(\d+)''?\) TO \(''?(\d+)''?\)'
    ) AS bound
    WHERE inhparent = to_regclass('timers') ORDER BY 2
"""

# Nobody waits for this lock but vacuum and its like, which yield to it.
_HOLD_STILL: Final = "LOCK TABLE timers, schedules IN SHARE UPDATE EXCLUSIVE MODE"
# Who writes names and settings of flows has ended as well, so that all of it was written before the
# commit of the switch; and no replica joins that was not told of the cells.
_LOCK: Final = (
    "LOCK TABLE timers, schedules IN ACCESS EXCLUSIVE MODE;"
    " LOCK TABLE timer_keys, flows, replicas, cell_map IN SHARE ROW EXCLUSIVE MODE"
)


class UnderWayError(MigrationError):
    """Callbacks of shards that are to be moved are under way."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(
            f"{len(ids)} callbacks of these shards are under way ({listed(ids)}): nothing has"
            " changed. Run this again, or give them longer with --drain"
        )


def partitions(connection: Connection) -> Sequence[tuple[str, Cell]]:
    """List the partitions of `timers` with their shards; none: it is one table."""
    return [(name, Cell(low, last)) for name, low, last in connection.execute(_PARTITIONS.encode())]


def untold_replicas(division: Division) -> str | None:
    """Say which replicas at the source were not told of the cells; None: all were."""
    rows = division.source.connection.execute(_UNTOLD, [str(division.cells)])
    names = [name for (name,) in rows]
    if not names:
        return None
    return (
        f"replicas were started with other CELLS, or are of an older release ({listed(names)}):"
        " restart them with the new ones. One that was killed is forgotten within some seconds"
    )


@contextmanager
def closed(division: Division) -> Iterator[None]:
    """Have nothing claimed in the moved shards, until they have left or the block has failed."""
    source = division.source
    kept = kept_of(source.connection) or UNTOLD
    moving = str(division.moved)
    try:
        source.connection.execute(_CLOSE, {"map": kept.map, "own": kept.own, "moving": moving})
        yield
    except BaseException:
        _reopen_surely(source)
        raise


def reopen(connection: Connection) -> bool:
    """Take back that shards are closed; False: none were."""
    kept = kept_of(connection)
    if kept is None or kept.moving is None:
        return False
    with connection.transaction():
        was_closed = connection.execute(_REOPEN).rowcount > 0
        connection.execute(_FORGET, {"all": str(ALL)})
    return was_closed


def switch(division: Division, drain_s: float) -> None:
    """Have the moved shards leave the source, once nothing is under way in them.

    Raises:
        UnderWayError: something is, all the time.
        BuildPutOffError: somebody holds the tables all the time.
        MigrationError: not now; nothing has changed.
    """
    rest(NOTICE_S)
    until = time.monotonic() + drain_s
    connection = division.source.connection
    while True:
        try:
            _drain(division, until)
            with connection.transaction():
                _hold_still(connection, until)
                _lock(connection, until)
                _require_nothing_claimed(division)
                _require_told(division)
                connection.execute(SQL("; ").join(_leaving(division)), prepare=False)
        except UnderWayError:
            # Who has not noticed yet may have claimed just now.
            if time.monotonic() > until:
                raise
        else:
            return


def take_back(division: Division) -> None:
    """Let the source have the shards again that have left it and are nowhere served yet.

    Nobody waits for it but who writes to them; what is attached is read as a whole for that.
    """
    held = Cell(division.stays.first, division.moved.last)
    execute_patiently(
        division.source.connection,
        SQL("; ").join(
            [
                *(
                    _attaching(name)
                    for name in detached_tables(division.source.connection)
                    if shards_of(name).first in division.moved.shards
                ),
                *_keeping_schedules(held),
                SQL("UPDATE cell_map SET own = {}").format(Literal(str(held))),
                # Where no row is, there is one cell.
                SQL("DELETE FROM cell_map WHERE own = {}").format(Literal(str(ALL))),
            ]
        ),
    )


def _drain(division: Division, until: float) -> None:
    while ids := _claimed(division):
        if time.monotonic() > until:
            raise UnderWayError(ids)
        rest(LOOK_S)


def _require_nothing_claimed(division: Division) -> None:
    if ids := _claimed(division):
        raise UnderWayError(ids)


def _require_told(division: Division) -> None:
    if untold := untold_replicas(division):
        raise MigrationError(untold)


def _claimed(division: Division) -> Sequence[str]:
    rows = division.source.connection.execute(_CLAIMED, division.moved)
    return [timer_id for (timer_id,) in rows]


def _hold_still(connection: Connection, until: float) -> None:
    wait_ms = max(50, round(1000 * (until - time.monotonic())))
    connection.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(wait_ms)))
    _or_put_off(connection, lambda: connection.execute(_HOLD_STILL))


def _lock(connection: Connection, until: float) -> None:
    """Get the locks that hold others up, a moment at a time, as long as there is time."""

    def act() -> None:
        while True:
            try:
                with connection.transaction():
                    connection.execute(SQL("SET LOCAL lock_timeout = {}").format(LOCK_WAIT))
                    connection.execute(_LOCK, prepare=False)
            except IN_THE_WAY:
                if time.monotonic() > until:
                    raise
                rest(LOCK_PAUSE_S)
            else:
                return

    _or_put_off(connection, act)


def _or_put_off(connection: Connection, act: Callable[[], object]) -> None:
    try:
        with connection.transaction():
            act()
    except IN_THE_WAY as error:
        raise BuildPutOffError(
            f"somebody holds the tables: {in_the_way(connection)}. Nothing has changed: run this"
            " again"
        ) from error


def _leaving(division: Division) -> Sequence[Composed]:
    """Return what takes the moved shards out of the source, but for what lies beside its timers."""
    detached = [
        SQL("ALTER TABLE timers DETACH PARTITION {0}; ALTER TABLE {0} RENAME TO {1}").format(
            Identifier(name), Identifier(f"{DETACHED}{shards.first:03}_{shards.last:03}")
        )
        for name, shards in partitions(division.source.connection)
        if division.moved.first <= shards.first and shards.last <= division.moved.last
    ]
    return [
        *detached,
        *_keeping_schedules(division.stays),
        SQL("UPDATE cell_map SET map = {}, own = {}, moving = NULL").format(
            Literal(str(division.cells)), Literal(str(division.stays))
        ),
        # What the target waits for must be on disk.
        SQL(
            "SELECT set_config('synchronous_commit', 'local', true)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        ).format(),
    ]


def _keeping_schedules(own: Cell) -> Sequence[Composed]:
    """Return what keeps schedules of other shards out; those that are there are deleted later."""
    name = Identifier(SCHEDULES)
    drop = SQL("ALTER TABLE schedules DROP CONSTRAINT IF EXISTS {}").format(name)
    add = SQL(
        "ALTER TABLE schedules ADD CONSTRAINT {} CHECK (shard BETWEEN {} AND {}) NOT VALID"
    ).format(name, *map(Literal, own))
    return [drop] if own == ALL else [drop, add]


def _attaching(detached: str) -> Composed:
    shards = shards_of(detached)
    name = Identifier(partition_name(*shards))
    return SQL(
        "ALTER TABLE {} RENAME TO {name};"
        " ALTER TABLE timers ATTACH PARTITION {name} FOR VALUES FROM ({}) TO ({})"
    ).format(Identifier(detached), shards.first, shards.last + 1, name=name)


def _reopen_surely(source: CellDatabase) -> None:
    """Reopen, on a new connection if need be."""
    try:
        if not source.connection.closed:
            reopen(source.connection)
            return
    except psycopg.Error:
        pass
    with connect(source.url) as another:
        reopen(another)
