"""A page of a list: a statement that is put together at run time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from timer_trio.domain.query import (
    MAX_LISTED_METADATA,
    JsonScalar,
    Order,
    Sort,
    TimerFilter,
    TimerQuery,
)

_COLUMNS: Final = SQL(
    "id, status, created_at, execute_at, callback_url, executed_at, destination, attempt,"
    " last_error, http_status, key, schedule_id, flow_key, parent_id,"
    " CASE WHEN octet_length(coalesce(metadata::text, 'null')) <= {most}"
    " THEN coalesce(metadata::text, 'null') END AS metadata"
).format(most=Literal(MAX_LISTED_METADATA))
_DIRECTIONS: Final = {Order.ASC: (SQL("ASC"), SQL(">")), Order.DESC: (SQL("DESC"), SQL("<"))}


def page_statement(query: TimerQuery) -> Composed:
    """Select up to one timer more than the page holds, with the total of all beside each.

    Without `after` there is always a row: of a page that is empty it holds the total alone.
    """
    sort = Identifier(query.sort)
    direction, _ = _DIRECTIONS[query.order]
    conditions = list(_conditions(query))
    page = SQL(
        "SELECT {columns} FROM (SELECT * FROM timers WHERE {conditions} {fence}) AS timers"
        " ORDER BY {sort} {direction}, id {direction} LIMIT {limit} OFFSET {offset}"
    ).format(
        columns=_COLUMNS,
        conditions=all_of([*conditions, *_behind(query)]),
        fence=SQL("" if _may_walk(query) else "OFFSET 0"),
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
    ).format(conditions=all_of(conditions), page=page, sort=sort, direction=direction)


def _may_walk(query: TimerQuery) -> bool:
    """Whether the index of the sort may be read until a page is full.

    Of what is rare it would be read to its end. OFFSET 0 has the planner find first what matches,
    by the index that serves the query's bound.
    """
    bounds = {Sort.CREATED_AT: query.created_after, Sort.EXECUTE_AT: query.execute_after}
    is_rare = query.unindexed or query.ended_after or query.ended_before
    return not is_rare or bounds[query.sort] is not None


def all_of(conditions: Sequence[Composable]) -> Composable:
    """Join conditions of a statement, all of which must hold; there is one at least."""
    return SQL(" AND ").join(conditions)


_ENDED: Final = "status IN ('completed', 'failed', 'canceled')"
CONDITIONS: Final[Mapping[str, SQL]] = {
    "status": SQL("status = {}"),
    "destination": SQL("destination = {}"),
    "last_error": SQL("strpos(last_error, {}) > 0"),
    "http_status": SQL("http_status = {}"),
    "key": SQL("key = {}"),
    "schedule_id": SQL("schedule_id = {}"),
    "flow_key": SQL("flow_key = {}"),
    "created_after": SQL("created_at > {}"),
    "created_before": SQL("created_at < {}"),
    "execute_after": SQL("execute_at > {}"),
    "execute_before": SQL("execute_at < {}"),
    "ended_after": SQL(f"updated_at > {{}} AND {_ENDED}"),
    "ended_before": SQL(f"updated_at < {{}} AND {_ENDED}"),
}
"""What a field of a TimerFilter asks of a row; `metadata` asks for as many things as it names."""


def conditions_of(wanted: TimerFilter) -> Composable:
    """Return what a filter asks of a row, in parentheses."""
    return SQL("({})").format(all_of(list(_conditions(wanted))))


def _conditions(wanted: TimerFilter) -> Iterator[Composable]:
    yield SQL("project = {}").format(Literal(wanted.project))
    for name, condition in CONDITIONS.items():
        if (value := getattr(wanted, name)) is not None:
            yield condition.format(Literal(value.value if isinstance(value, Enum) else value))
    for key, asked in wanted.metadata.items():
        yield has_one(SQL("metadata"), key, asked)


def _behind(query: TimerQuery) -> Iterator[Composable]:
    if query.after is not None:
        _, comparison = _DIRECTIONS[query.order]
        yield SQL("({sort}, id) {comparison} ({instant}, {id})").format(
            sort=Identifier(query.sort),
            comparison=comparison,
            instant=Literal(query.after.instant),
            id=Literal(query.after.id),
        )


def has_one(metadata: SQL, key: str, asked: Sequence[JsonScalar]) -> Composed:
    """Ask for metadata whose value of a key is one of these."""
    if not asked:
        return Composed([SQL("false")])
    either = [_contains(metadata, key, scalar) for scalar in asked]
    return SQL("({})").format(SQL(" OR ").join(either))


def _contains(metadata: SQL, key: str, scalar: JsonScalar) -> Composable:
    # Containment is what the index serves; of an object's scalar it means equality.
    wanted: dict[str, Any] = {key: scalar}
    return SQL("{} @> {}::jsonb").format(metadata, Literal(json.dumps(wanted)))
