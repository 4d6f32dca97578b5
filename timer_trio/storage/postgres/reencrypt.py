"""Rows under another key: read page by page, and rewritten where their key is not the first one.

The command `db reencrypt` does it by itself, over a connection in autocommit mode, while the
service works. Nobody waits for it: what somebody locks or writes meanwhile it leaves, and looks at
again.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.errors import SealedError
from timer_trio.domain.sealed import is_sealed_text
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.sealing import resealed_answer, resealed_headers, resealed_text

PAGE_ROWS: Final = 200
"""Written with one statement: some 6 ms of the database's time, little enough for a claim."""
PAGE_BYTES: Final = 4 * 1_024 * 1_024
ROUNDS: Final = 20
"""How often what was locked is looked at again."""
ROUND_PAUSE_S: Final = 0.5
MIN_PAUSE_S: Final = 0.005

# Rows that somebody has made by hand may hold anything.
_UNREADABLE: Final = (
    *(SealedError, ValueError, TypeError, AttributeError, LookupError, RecursionError),
)

Connection = psycopg.Connection[Any]
Row = Mapping[str, Any]


class Progress(NamedTuple):
    """What became of some rows of a table: `unreadable` ones no key opens, or they are damaged."""

    table: str
    looked: int = 0
    rewritten: int = 0
    left: int = 0
    """Rows that somebody has kept locked to the end."""
    unreadable: int = 0

    def plus(self, more: Progress) -> Progress:
        """Return what became of these rows and of others of the table."""
        return Progress(
            self.table,
            looked=self.looked + more.looked,
            rewritten=self.rewritten + more.rewritten,
            left=self.left + more.left,
            unreadable=self.unreadable + more.unreadable,
        )


class _Table(NamedTuple):
    """`start` is before its first row, by the columns that say where a row stands.

    `reseal` returns what is to be written in a row's place; None: it is as it should be.
    """

    name: str
    start: Mapping[str, object]
    reseal: Callable[[Row, Cipher], Mapping[str, object] | None]


class _Page(NamedTuple):
    looked: int
    rewritten: int
    left: int
    unreadable: int
    last: Mapping[str, object] | None
    """Where its last row stands; None: there was none."""


def reencrypt(connection: Connection, cipher: Cipher) -> Iterator[Progress]:
    """Rewrite what `cipher` would write in another way; yields after each page.

    A row that somebody locks is looked at again after the rest of its table.
    """
    names = [table.name for table in _TABLES]
    there = {row["name"] for row in _rows(connection, "sealed_tables", {"names": names})}
    for table in _TABLES:
        if table.name in there:
            yield from _reencrypt_table(connection, table, cipher)


def versions_of_replicas(connection: Connection) -> Sequence[str]:
    """Name the versions of those who use the database now."""
    return [row["version"] for row in _rows(connection, "versions_of_replicas", {})]


def _reencrypt_table(connection: Connection, table: _Table, cipher: Cipher) -> Iterator[Progress]:
    after: Mapping[str, object] | None = table.start
    put_off: list[Mapping[str, object]] = []
    while after is not None:
        began = time.monotonic()
        page = _rewrite_page(connection, table, after, cipher)
        if page.left:
            put_off.append(after)
        yield Progress(
            table.name,
            looked=page.looked,
            rewritten=page.rewritten,
            unreadable=page.unreadable,
        )
        after = page.last
        # Half of the time is for others.
        _rest(max(MIN_PAUSE_S, time.monotonic() - began))
    yield from _return_to(connection, table, put_off, cipher)


def _return_to(
    connection: Connection, table: _Table, pages: Sequence[Mapping[str, object]], cipher: Cipher
) -> Iterator[Progress]:
    """Look again at pages of which something was left, until nothing is, or it is given up."""
    left = 0
    for _ in range(ROUNDS):
        if not pages:
            return
        _rest(ROUND_PAUSE_S)
        looked = [(after, _rewrite_page(connection, table, after, cipher)) for after in pages]
        pages = [after for after, page in looked if page.left]
        left = sum(page.left for _, page in looked)
        yield Progress(table.name, rewritten=sum(page.rewritten for _, page in looked))
    yield Progress(table.name, left=left)


def _rewrite_page(
    connection: Connection, table: _Table, after: Mapping[str, object], cipher: Cipher
) -> _Page:
    rows = _rows(
        connection, f"sealed_in_{table.name}", {**after, "rows": PAGE_ROWS, "bytes": PAGE_BYTES}
    )
    given: list[Mapping[str, object]] = []
    unreadable = 0
    for row in rows:
        try:
            resealed = table.reseal(row, cipher)
        except _UNREADABLE:
            unreadable += 1
            continue
        if resealed is not None:
            given.append({**row, **resealed})
    rewritten = 0
    if given:
        text = json.dumps(given, default=str)
        rewritten = connection.execute(QUERIES[f"reseal_{table.name}"], {"resealed": text}).rowcount
    last = {name: rows[-1][name] for name in table.start} if rows else None
    return _Page(len(rows), rewritten, len(given) - rewritten, unreadable, last)


def _rest(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - nobody waits for a command


def _rows(connection: Connection, query: str, parameters: Mapping[str, object]) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return [*cursor.execute(QUERIES[query], parameters).fetchall()]


def _timer(row: Row, cipher: Cipher) -> Mapping[str, object] | None:
    asked = {
        "callback_headers": json.loads(row["callback_headers"]),
        "callback_payload": row["callback_payload"],
        "on_completed": _parsed(row["on_completed"]),
        "on_failed": _parsed(row["on_failed"]),
    }
    resealed = _resealed_spec(asked, cipher)
    return None if resealed == asked else resealed


def _schedule(row: Row, cipher: Cipher) -> Mapping[str, object] | None:
    template = json.loads(row["template"])
    resealed = _resealed_spec(template, cipher)
    return None if resealed == template else {"template": resealed}


def _resealed_spec(asked: Mapping[str, Any], cipher: Cipher) -> Mapping[str, object]:
    """Return the columns of a spec with those resealed that are there."""
    resealed = {**asked}
    if headers := asked.get("callback_headers"):
        resealed["callback_headers"] = resealed_headers(headers, cipher)
    if payload := asked.get("callback_payload"):
        resealed["callback_payload"] = resealed_text(payload, cipher)
    for name in ("on_completed", "on_failed"):
        if target := asked.get(name):
            resealed[name] = {**target, "headers": resealed_headers(target["headers"], cipher)}
    return resealed


def _attempt(row: Row, cipher: Cipher) -> Mapping[str, object] | None:
    if row["headers"] is None:
        return None
    pairs = tuple((name, value) for name, value in json.loads(row["headers"]))
    answer = KeptAnswer(headers=pairs, body=row["body"] or b"", is_truncated=False)
    resealed = resealed_answer(answer, cipher)
    if resealed is answer:
        return None
    return {"headers": resealed.headers, "body": b64encode(resealed.body).decode("ascii")}


def _key(row: Row, cipher: Cipher) -> Mapping[str, object] | None:
    answer = row["answer"]
    if not is_sealed_text(answer) and _OF_A_SCHEDULE not in answer:
        return None
    return _unless_same("answer", answer, cipher)


def _secret(row: Row, cipher: Cipher) -> Mapping[str, object] | None:
    return _unless_same("secret", row["secret"], cipher)


def _unless_same(name: str, text: str, cipher: Cipher) -> Mapping[str, object] | None:
    resealed = resealed_text(text, cipher)
    return None if resealed == text else {name: resealed}


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


_OF_A_SCHEDULE: Final = '"callback_headers"'
"""An answer in which it stands shows more than timers in short."""
_NO_ID: Final = UUID(int=0)
_TABLES: Final = (
    _Table("timers", {"id": _NO_ID}, _timer),
    _Table("attempts", {"timer_id": _NO_ID}, _attempt),
    _Table("schedules", {"id": _NO_ID}, _schedule),
    _Table("timer_keys", {"project": 0, "key": ""}, _key),
    _Table("signing_secrets", {"id": _NO_ID}, _secret),
)
