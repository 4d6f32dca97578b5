"""PostgreSQL's logical replication of a range of shards: what is made for it in both databases.

`timers`, `schedules` and `attempts` are filtered by their shard. What a name or the key of a flow
says no filter can compute, so `timer_keys` and `flows` go whole. `attempts` has no primary key by
which a change could be found; its rows are never changed but by a re-encryption, and deleted only
with their timers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from timer_trio.storage.migrations.division import Division
from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.migrations.patience import rest
from timer_trio.storage.migrations.taken import Connection
from timer_trio.storage.postgres.sessions import Session

SUBSCRIPTION: Final = "timer_trio_split"

LOOK_S: Final = 0.2
ARRIVAL_LOOK_S: Final = 0.01
NEAR_S: Final = 1.0
"""How far the target may be behind before shards are closed. In time, since under load a flush that
comes every fifth of a second is always some megabytes late."""
WORKERLESS_S: Final = 60.0
MOST_FAILURES: Final = 5
"""A worker that fails is started again after five seconds, and may find things better then."""
LATE_S: Final = 5.0
RELEASE_S: Final = 10.0

_STATE: Final = """
    SELECT
        subenabled,
        (SELECT count(*) FROM pg_subscription_rel WHERE srsubid = oid) AS tables,
        (SELECT count(*) FROM pg_subscription_rel WHERE srsubid = oid AND srsubstate = 'r'),
        EXISTS (SELECT FROM pg_stat_subscription WHERE subid = oid AND pid IS NOT NULL),
        coalesce((
            SELECT apply_error_count + sync_error_count
            FROM pg_stat_subscription_stats WHERE subid = oid
        ), 0),
        ARRAY(
            SELECT format('%%s: %%s rows', relid::regclass, tuples_processed)
            FROM pg_stat_progress_copy
            WHERE datname = current_database() AND command = 'COPY FROM' AND type = 'CALLBACK'
        )
    FROM pg_subscription
    WHERE subname = %s
        AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_ID: Final = """
    SELECT oid FROM pg_subscription
    WHERE subname = %s
        AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_BEHIND: Final = """
    SELECT pg_wal_lsn_diff(%s, confirmed_flush_lsn)::bigint FROM pg_replication_slots
    WHERE slot_name = %s AND wal_status <> 'lost'
"""
# The statement has a password in it. No other role may say what is logged.
_UNLOGGED: Final = """
    SELECT set_config('log_statement', 'none', true),
        set_config('log_min_error_statement', 'panic', true),
        set_config('log_min_duration_statement', '-1', true)
    FROM pg_roles WHERE rolname = current_user AND rolsuper
"""
_TOLD: Final = "SELECT obj_description(%s, 'pg_subscription')"
_DROP_SLOTS: Final = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
    WHERE database = current_database() AND slot_name LIKE %s
"""
_SLOTS: Final = r"""
    SELECT slot_name FROM pg_replication_slots
    WHERE database = current_database() AND slot_name ~ '^timer_trio_\d{3}_\d{3}_\d+$'
"""
_PUBLICATIONS: Final = r"""
    SELECT pubname FROM pg_publication WHERE pubname ~ '^timer_trio_\d{3}_\d{3}(_attempts)?$'
"""


@dataclass(frozen=True, slots=True)
class _State:
    """How the subscription is; `failures`: how often a worker of it has failed."""

    is_enabled: bool
    tables: int
    ready: int
    has_worker: bool
    failures: int
    copying: list[str]


class Replication:
    """What carries the moved shards from the source to the target.

    `source_url`: how the target's server reaches the source.
    """

    def __init__(self, division: Division, source_url: str) -> None:
        self._source = division.source.connection
        self._target = division.target.connection
        self._moved = division.moved
        self._source_url = source_url
        self.publication = f"timer_trio_{self._moved.first:03}_{self._moved.last:03}"
        # Slots are of the whole server, which may have several such databases.
        self.slot = f"{self.publication}_{_value(self._source, _DATABASE)}"

    @property
    def is_begun(self) -> bool:
        """Whether the target has its subscription."""
        return self._target.execute(_ID, [SUBSCRIPTION]).fetchone() is not None

    @property
    def has_slot(self) -> bool:
        """Whether the source still keeps what has not been sent."""
        query = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND wal_status <> 'lost'"
        return self._source.execute(query, [self.slot]).fetchone() is not None

    def begin(self) -> None:
        """Make what is not there: publications, then the slot, then the subscription.

        Raises:
            MigrationError: the slot is lost, and with it what has not been sent.
        """
        if self.is_begun:
            self.require_sound()
            self._connect_anew()
            return
        self._publish()
        # One of an earlier run keeps WAL that nobody needs.
        _drop_slots(self._source)
        self._source.execute(
            "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self.slot]
        )
        self._subscribe()

    def require_sound(self) -> None:
        """Check that nothing can have been lost on the way.

        Raises:
            MigrationError: it can.
        """
        if not self.has_slot:
            raise MigrationError(self._lost())
        row = self._target.execute(_ID, [SUBSCRIPTION]).fetchone()
        told = row and self._target.execute(_TOLD, row).fetchone()
        if told and told[0] not in {None, self._history()}:
            raise MigrationError(
                "the server of the new database is another one since it was begun to be filled, as"
                " after a failover, and may lack what had arrived at the one before. Take it back"
                " with --undo, and begin again"
            )

    def wait_copied(self) -> Iterator[str]:
        """Wait until all tables are copied; yields how far they are.

        Raises:
            MigrationError: it does not go on, and where to look.
        """
        watch = _Watch(self._state().failures)
        while (state := self._state()).ready < state.tables:
            watch.look(state)
            yield ", ".join([f"{state.ready} of {state.tables} tables copied", *state.copying])
            rest(LOOK_S)

    def wait_near(self) -> Iterator[str]:
        """Wait until what is written arrives soon; yields how far; raises as `wait_copied`."""
        watch = _Watch(self._state().failures)
        while True:
            began, written = time.monotonic(), self.written()
            while (behind := self.behind(written)) > 0:
                watch.look(self._state())
                yield f"{behind / 1e6:.1f} MB behind"
                rest(LOOK_S)
            if time.monotonic() - began < NEAR_S:
                return

    def written(self) -> str:
        """Return up to where the source has written."""
        return str(_value(self._source, "SELECT pg_current_wal_flush_lsn()"))

    def behind(self, written: str) -> int:
        """Return how many bytes of what was written up to there have not arrived.

        Raises:
            MigrationError: the slot is lost, and with it what has not been sent.
        """
        row = self._source.execute(_BEHIND, [written, self.slot]).fetchone()
        if row is None:
            raise MigrationError(self._lost())
        return max(0, int(row[0]))

    def wait_arrived(self, written: str) -> Iterator[str]:
        """Wait until all that was written up to there has arrived, and is on disk."""
        # The target would flush what it commits at its leisure, and tell of it five times a second.
        # This has it flushed at once, and wakes the worker up. Not earlier: a flush for each
        # transaction, one after the other, may be slower than they come.
        self._alter("SET (synchronous_commit = 'local')")
        late = time.monotonic() + LATE_S
        while (behind := self.behind(written)) > 0:
            if time.monotonic() > late:
                late += LATE_S
                yield f"{behind / 1e6:.1f} MB are still to arrive: {_LOOK_THERE}"
            rest(ARRIVAL_LOOK_S)

    def end_subscription(self) -> bool:
        """Drop the subscription, so that nothing arrives any more; False: there is none."""
        row = self._target.execute(_ID, [SUBSCRIPTION]).fetchone()
        if row is None:
            return False
        self._alter("DISABLE")
        self._alter("SET (slot_name = NONE)")
        self._target.execute(SQL("DROP SUBSCRIPTION {}").format(Identifier(SUBSCRIPTION)))
        # Of tables that were being copied; it has dropped them itself if it could reach the source.
        self._source.execute(_DROP_SLOTS, [rf"pg\_{row[0]}\_sync\_%"])
        return True

    @property
    def _attempts(self) -> str:
        return f"{self.publication}_attempts"

    def _publish(self) -> None:
        moved = SQL("WHERE (shard BETWEEN {} AND {})").format(*map(Literal, self._moved))
        self._make_publication(
            self.publication,
            SQL("timers {moved}, schedules {moved}, timer_keys, flows").format(moved=moved),
            "insert, update, delete",
        )
        self._make_publication(self._attempts, SQL("attempts {}").format(moved), "insert")

    def _make_publication(self, name: str, tables: Any, operations: str) -> None:
        query = "SELECT FROM pg_publication WHERE pubname = %s"
        if self._source.execute(query, [name]).fetchone() is None:
            self._source.execute(
                SQL(
                    "CREATE PUBLICATION {} FOR TABLE {}"
                    " WITH (publish = {}, publish_via_partition_root = true)"
                ).format(Identifier(name), tables, Literal(operations))
            )

    def _subscribe(self) -> None:
        # With a slot of our own: where both databases are of one server it would else wait for all
        # transactions there to end, its own among them.
        with self._target.transaction():
            self._target.execute(_UNLOGGED)
            self._target.execute(
                SQL(
                    "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {}, {}"
                    " WITH (create_slot = false, slot_name = {}, copy_data = true)"
                ).format(
                    Identifier(SUBSCRIPTION),
                    Literal(self._conninfo),
                    Identifier(self.publication),
                    Identifier(self._attempts),
                    Literal(self.slot),
                )
            )
            # A standby that takes its place may lack what this one has confirmed.
            self._target.execute(
                SQL("COMMENT ON SUBSCRIPTION {} IS {}").format(
                    Identifier(SUBSCRIPTION), Literal(self._history())
                )
            )

    def _connect_anew(self) -> None:
        """Have it use the URL of now, which may be another than it was."""
        with self._target.transaction():
            self._target.execute(_UNLOGGED)
            self._alter(f"CONNECTION {Literal(self._conninfo).as_string(self._target)}")

    @property
    def _conninfo(self) -> str:
        return make_conninfo(self._source_url, target_session_attrs="read-write")

    def _alter(self, change: str) -> None:
        self._target.execute(
            SQL("ALTER SUBSCRIPTION {} {}").format(Identifier(SUBSCRIPTION), SQL(change))
        )

    def _lost(self) -> str:
        return (
            f"the source has its replication slot {self.slot} no more, as after a failover, or has"
            " dropped its WAL (max_slot_wal_keep_size): what has not been sent is not to be had."
            " Take it back with --undo, and begin again"
        )

    def _history(self) -> str:
        """Tell which history of which cluster the target's server writes, if that may be known."""
        history = self._target.history if isinstance(self._target, Session) else None
        return f"{history.system}/{history.timeline}" if history else "unknown"

    def _state(self) -> _State:
        row = self._target.execute(_STATE, [SUBSCRIPTION]).fetchone()
        if row is None:
            raise MigrationError("the subscription has been dropped meanwhile: run this again")
        return _State(*row)


def end_publishing(source: Connection) -> bool:
    """Drop what was made in a database for the others to follow it; False: there is nothing."""
    had_slots = _drop_slots(source)
    names = [name for (name,) in source.execute(_PUBLICATIONS)]
    for name in names:
        source.execute(SQL("DROP PUBLICATION {}").format(Identifier(name)))
    return had_slots or bool(names)


def _drop_slots(source: Connection) -> bool:
    """Drop our slots, once the server has noticed that nobody reads them; False: there are none."""
    had_any = False
    until = time.monotonic() + RELEASE_S
    while names := [name for (name,) in source.execute(_SLOTS)]:
        had_any = True
        for name in names:
            try:
                source.execute("SELECT pg_drop_replication_slot(%s)", [name])
            except psycopg.errors.ObjectInUse:
                if time.monotonic() > until:
                    raise
                rest(LOOK_S)
    return had_any


class _Watch:
    """Notices that a subscription does not go on."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self._worked_at = time.monotonic()

    def look(self, state: _State) -> None:
        """Look at it again.

        Raises:
            MigrationError: it does not go on.
        """
        now = time.monotonic()
        if state.has_worker:
            self._worked_at = now
        if not state.is_enabled:
            raise MigrationError(
                f"the subscription {SUBSCRIPTION} has been disabled: ALTER SUBSCRIPTION"
                f" {SUBSCRIPTION} ENABLE in the new database, and run this again to go on"
            )
        if (failures := state.failures - self._failures) >= MOST_FAILURES:
            raise MigrationError(
                f"the subscription has failed {failures} times: {_LOOK_THERE}. It is tried again by"
                " itself; run this again to go on, or with --undo to take it back"
            )
        if now - self._worked_at > WORKERLESS_S:
            raise MigrationError(
                f"no process works for the subscription: {_LOOK_THERE}. Can its server reach the"
                " other one (--source-url), and are max_logical_replication_workers and"
                " max_worker_processes enough? Run this again to go on"
            )


_LOOK_THERE: Final = "the log of the new database's server says why"
_DATABASE: Final = "SELECT oid FROM pg_database WHERE datname = current_database()"


def _value(connection: Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None
