"""Whether the table `timers` is whole or in partitions, and the statements that make a copy of it.

A partition has a range of shards, all of the same width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg.sql import SQL, Composed, Identifier, Literal

from timer_trio.domain.timer import SHARDS
from timer_trio.storage.migrations.checks import COPY
from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.migrations.indexes import Index
from timer_trio.storage.migrations.taken import Connection

PRIMARY_KEY: Final = f"{COPY}_pkey"
POSITION: Final = "timers_copy_position"
WRITE: Final = "timers_copy_write"
DELETE: Final = "timers_copy_delete"
TURN: Final = 0x54494D455253
"""Any number that nobody else is likely to use: pages of the copy and deletes take turns by it."""

# What is stored under which settings: of a table in partitions each has them.
_TABLE: Final = """
    SELECT
        t.oid, n.nspname, o.rolname, pg_has_role(t.relowner, 'USAGE') AS may_alter,
        coalesce((
            SELECT c.reloptions FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
            WHERE inhparent = t.oid LIMIT 1
        ), t.reloptions, '{}'),
        (SELECT count(*) FROM pg_inherits WHERE inhparent = t.oid),
        parts.rows::bigint, parts.size::bigint,
        to_regclass(format('%%I.%%I', n.nspname, %(copy)s::text)) IS NOT NULL
    FROM pg_class AS t
    JOIN pg_namespace AS n ON n.oid = t.relnamespace
    JOIN pg_roles AS o ON o.oid = t.relowner
    CROSS JOIN LATERAL (
        SELECT sum(greatest(reltuples, 0)) AS rows, sum(pg_total_relation_size(c.oid)) AS size
        FROM pg_class AS c
        WHERE relkind = 'r' AND t.oid IN (
            SELECT c.oid UNION ALL SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid
        )
    ) AS parts
    WHERE t.oid = to_regclass('timers')
"""

_COLUMNS: Final = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
        AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""

_INDEXES: Final = """
    SELECT c.relname, indisunique, regexp_replace(pg_get_indexdef(c.oid), '^.*? USING ', 'USING ')
    FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
    WHERE indrelid = %s AND NOT indisprimary ORDER BY c.relname
"""

# What a copy would not have, or would be left behind with the table that it takes the place of.
_FOREIGN: Final = """
    SELECT format('trigger %%s', tgname) FROM pg_trigger
    WHERE tgrelid = %(table)s AND NOT tgisinternal AND tgname NOT LIKE %(ours)s
    UNION ALL
    SELECT format('rule or view %%s', ev_class::regclass)
    FROM pg_rewrite JOIN pg_depend ON objid = pg_rewrite.oid
    WHERE classid = 'pg_rewrite'::regclass AND refobjid = %(table)s
    UNION ALL
    SELECT format('foreign key %%s', conname) FROM pg_constraint
    WHERE contype = 'f' AND %(table)s IN (conrelid, confrelid)
    UNION ALL
    SELECT format('row security of %%s', relname) FROM pg_class
    WHERE oid = %(table)s AND relrowsecurity
    UNION ALL
    SELECT format('publication %%s', pubname)
    FROM pg_publication_rel JOIN pg_publication ON pg_publication.oid = prpubid
    WHERE prrelid = %(table)s
"""

_GRANTS: Final = """
    SELECT CASE WHEN grantee = 0 THEN NULL ELSE pg_get_userbyid(grantee) END,
        privilege_type, is_grantable
    FROM pg_class CROSS JOIN aclexplode(relacl) WHERE pg_class.oid = %s
"""


@dataclass(frozen=True, slots=True)
class Table:
    """The table `timers` as it is; `partitions`: 0 if it is whole."""

    oid: int
    schema: str
    owner: str
    may_alter: bool
    settings: Sequence[str]
    partitions: int
    rows: int
    """As the last ANALYZE or VACUUM estimated."""
    size: int
    has_copy: bool


@dataclass(frozen=True, slots=True)
class Partition:
    """The shards from `low` to before `high`."""

    name: str
    low: int
    high: int


def partitions_of(count: int) -> Sequence[Partition]:
    """Divide the shards into so many ranges; their names are not those of another division."""
    width = SHARDS // count
    return [
        Partition(partition_name(low, low + width - 1), low, low + width)
        for low in range(0, SHARDS, width)
    ]


def partition_name(first: int, last: int) -> str:
    """Name the partition of these shards, both ends included."""
    return f"timers_{first:03}_{last:03}"


def read_table(connection: Connection) -> Table:
    """Read what `timers` is now.

    Raises:
        MigrationError: there is no such table.
    """
    row = connection.execute(_TABLE.encode(), {"copy": COPY}).fetchone()
    if row is None:
        raise MigrationError("the database has no table `timers`: timer-trio db migrate")
    return Table(*row)


def foreign_parts(connection: Connection, table: Table) -> Sequence[str]:
    """Name what hangs on the table and is not of our making."""
    rows = connection.execute(_FOREIGN.encode(), {"table": table.oid, "ours": f"{COPY}%"})
    return [name for (name,) in rows]


def columns_of(connection: Connection, table: Table, name: str = "timers") -> Sequence[str]:
    """List the columns of `timers`, or of its copy."""
    rows = connection.execute(_COLUMNS, [table.schema, name])
    return [column for (column,) in rows]


def make_copy(connection: Connection, table: Table, count: int) -> None:
    """Make an empty copy of `timers` in so many partitions, or whole, with the same rights.

    It has no index but the primary key: others are cheaper built than filled.
    """
    settings = SQL(" WITH ({})").format(SQL(", ").join(map(SQL, table.settings)))
    of_each = settings if table.settings else SQL("")
    copy = Identifier(table.schema, COPY)
    is_divided = count > 1
    connection.execute(
        SQL(
            "CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES,"
            " CONSTRAINT {} PRIMARY KEY (shard, id)){}"
        ).format(
            copy,
            Identifier(table.schema, "timers"),
            Identifier(PRIMARY_KEY),
            SQL(" PARTITION BY RANGE (shard)") if is_divided else of_each,
        )
    )
    for each in partitions_of(count) if is_divided else []:
        connection.execute(
            SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({}){}").format(
                Identifier(table.schema, each.name),
                copy,
                Literal(each.low),
                Literal(each.high),
                of_each,
            )
        )
    _grant_alike(connection, table, copy)


def indexes_of_copy(connection: Connection, table: Table) -> Mapping[str, Index]:
    """Return the indexes that the copy must have beside its primary key, by those of `timers`."""
    rows = connection.execute(_INDEXES, [table.oid])
    return {
        name: Index(f"{COPY}_{name.removeprefix('timers_')}", COPY, definition, is_unique)
        for name, is_unique, definition in rows
    }


def _grant_alike(connection: Connection, table: Table, copy: Composed | Identifier) -> None:
    for role, privilege, is_grantable in connection.execute(_GRANTS, [table.oid]).fetchall():
        connection.execute(
            SQL("GRANT {} ON {} TO {}{}").format(
                SQL(privilege),
                copy,
                SQL("PUBLIC") if role is None else Identifier(role),
                SQL(" WITH GRANT OPTION" if is_grantable else ""),
            )
        )


_WRITE_BODY: Final = """
    BEGIN
        INSERT INTO {copy} ({columns}) SELECT {columns} FROM written
        ON CONFLICT (shard, id) DO UPDATE SET ({values}) = ROW({newest});
        RETURN NULL;
    END
"""

# Who deletes waits for the page that is being copied, and the page for him: it would else copy a
# row that is gone.
_DELETE_BODY: Final = """
    BEGIN
        PERFORM pg_advisory_xact_lock_shared({turn});
        DELETE FROM {copy} AS c USING written AS w WHERE c.shard = w.shard AND c.id = w.id;
        RETURN NULL;
    END
"""


def trigger_functions(table: Table, columns: Sequence[str]) -> Sequence[Composed]:
    """Return what makes the functions that write to the copy what is written to `timers`."""
    values = [name for name in columns if name not in ("shard", "id")]
    newest = SQL(", ").join(SQL("excluded.{}").format(Identifier(name)) for name in values)
    parts: dict[str, Any] = {
        "copy": Identifier(table.schema, COPY),
        "columns": identifiers(columns),
        "values": identifiers(values),
        "newest": newest,
        "turn": Literal(TURN),
    }
    return [
        SQL("CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}").format(
            Identifier(table.schema, name), Literal(SQL(body).format(**parts).as_string())
        )
        for name, body in ((WRITE, _WRITE_BODY), (DELETE, _DELETE_BODY))
    ]


def triggers(table: Table) -> Sequence[Composed]:
    """Return what has them called."""
    kinds = (("INSERT", "NEW", WRITE), ("UPDATE", "NEW", WRITE), ("DELETE", "OLD", DELETE))
    return [
        SQL(
            "CREATE TRIGGER {} AFTER {} ON {} REFERENCING {} TABLE AS written"
            " FOR EACH STATEMENT EXECUTE FUNCTION {}()"
        ).format(
            Identifier(f"{COPY}_{verb.lower()}"),
            SQL(verb),
            Identifier(table.schema, "timers"),
            SQL(side),
            Identifier(table.schema, function),
        )
        for verb, side, function in kinds
    ]


def identifiers(names: Sequence[str]) -> Composed:
    """Join names by commas."""
    return SQL(", ").join(map(Identifier, names))
