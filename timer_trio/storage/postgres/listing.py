"""The one statement that is put together at run time: a page of a list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from timer_trio.domain.query import JsonScalar, Order, TimerQuery

_COLUMNS: Final = SQL("id, status, created_at, execute_at, callback_url, executed_at")
_DIRECTIONS: Final = {Order.ASC: (SQL("ASC"), SQL(">")), Order.DESC: (SQL("DESC"), SQL("<"))}


def page_statement(query: TimerQuery) -> Composed:
    """Select up to one timer more than the page holds, with the total of all beside each.

    Without `after` there is always a row: of a page that is empty it holds the total alone.
    """
    sort = Identifier(query.sort)
    direction, _ = _DIRECTIONS[query.order]
    conditions = list(_conditions(query))
    page = SQL(
        "SELECT {columns} FROM timers WHERE {conditions}"
        " ORDER BY {sort} {direction}, id {direction} LIMIT {limit} OFFSET {offset}"
    ).format(
        columns=_COLUMNS,
        conditions=_all([*conditions, *_behind(query)]),
        sort=sort,
        direction=direction,
        limit=Literal(query.limit + 1),
        offset=Literal(0 if query.after else query.offset),
    )
    if query.after:
        return SQL("SELECT NULL AS total, page.* FROM ({}) AS page").format(page)
    # The join might forget the order of the page.
    return SQL(
        "SELECT counted.total, page.*"
        " FROM (SELECT count(*) AS total FROM timers WHERE {conditions}) AS counted"
        " LEFT JOIN ({page}) AS page ON true ORDER BY page.{sort} {direction}, page.id {direction}"
    ).format(conditions=_all(conditions), page=page, sort=sort, direction=direction)


def _all(conditions: Sequence[Composable]) -> Composable:
    return SQL(" AND ").join(conditions) if conditions else SQL("true")


def _conditions(query: TimerQuery) -> Iterator[Composable]:
    if query.status is not None:
        yield SQL("status = {}").format(Literal(query.status.value))
    if query.execute_after is not None:
        yield SQL("execute_at > {}").format(Literal(query.execute_after))
    if query.execute_before is not None:
        yield SQL("execute_at < {}").format(Literal(query.execute_before))
    for key, asked in query.metadata.items():
        either = [_contains(key, scalar) for scalar in asked]
        yield SQL("({})").format(SQL(" OR ").join(either)) if either else SQL("false")


def _behind(query: TimerQuery) -> Iterator[Composable]:
    if query.after is not None:
        _, comparison = _DIRECTIONS[query.order]
        yield SQL("({sort}, id) {comparison} ({instant}, {id})").format(
            sort=Identifier(query.sort),
            comparison=comparison,
            instant=Literal(query.after.instant),
            id=Literal(query.after.id),
        )


def _contains(key: str, scalar: JsonScalar) -> Composable:
    # Containment is what the index serves; of an object's scalar it means equality.
    wanted: dict[str, Any] = {key: scalar}
    return SQL("metadata @> {}::jsonb").format(Literal(json.dumps(wanted)))
