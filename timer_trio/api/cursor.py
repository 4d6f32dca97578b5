"""Cursors: a place in one list, sealed so that it fits no other."""

from __future__ import annotations

import hmac
import struct
from base64 import b64decode, urlsafe_b64encode
from dataclasses import fields
from hashlib import sha256
from typing import Final
from uuid import UUID

from timer_trio.domain.audit import AuditQuery
from timer_trio.domain.destination import DestinationQuery
from timer_trio.domain.query import Position, TimerFilter, TimerQuery
from timer_trio.domain.rules import FlowQuery
from timer_trio.domain.schedule import ScheduleQuery
from timer_trio.domain.timer import TimerId
from timer_trio.domain.unix_time import EPOCH, MICROSECOND, unix_us

_PLACE: Final = struct.Struct(">q16s")  # microseconds, id
_SCALARS: Final = tuple(f.name for f in fields(TimerFilter) if f.name != "metadata")
_OF_AUDIT: Final = tuple(f.name for f in fields(AuditQuery) if f.name not in {"limit", "behind"})
_SEAL_BYTES: Final = 8
"""It guards no secret, only against a cursor that somebody edited or took to another list."""

Query = TimerQuery | ScheduleQuery | AuditQuery
ByName = FlowQuery | DestinationQuery
"""What is listed by its name, which is the place as well."""


def cursor_of(position: Position, query: Query, key: bytes) -> str:
    microseconds = unix_us(position.instant)
    place = _PLACE.pack(microseconds, position.id.bytes)
    return _sealed(place, _this_list(query), key)


def name_cursor_of(after: str, query: ByName, key: bytes) -> str:
    return _sealed(after.encode(), _this_list_by_name(query), key)


def position_of(cursor: str, query: Query, key: bytes) -> Position:
    """Read a cursor that was made for this list.

    Raises:
        ValueError: it was not.
    """
    sealed = _decoded(cursor)
    if len(sealed) != _PLACE.size + _SEAL_BYTES:
        raise ValueError("no cursor")
    microseconds, timer_id = _PLACE.unpack_from(sealed)
    instant = EPOCH + microseconds * MICROSECOND
    position = Position(instant, TimerId(UUID(bytes=timer_id)))
    if not hmac.compare_digest(cursor_of(position, query, key), cursor):
        raise ValueError("made for another list")
    return position


def name_of(cursor: str, query: ByName, key: bytes) -> str:
    """Read a cursor that was made for this list.

    Raises:
        ValueError: it was not.
    """
    after = _decoded(cursor)[:-_SEAL_BYTES].decode()
    if not hmac.compare_digest(name_cursor_of(after, query, key), cursor):
        raise ValueError("made for another list")
    return after


def _decoded(cursor: str) -> bytes:
    return b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)


def _sealed(place: bytes, this_list: object, key: bytes) -> str:
    seal = hmac.digest(key, place + repr(this_list).encode(), sha256)[:_SEAL_BYTES]
    return urlsafe_b64encode(place + seal).rstrip(b"=").decode()


def _this_list_by_name(query: ByName) -> object:
    if isinstance(query, DestinationQuery):
        return "destinations", query.destination
    return "flows", query.is_paused


def _this_list(query: Query) -> object:
    if isinstance(query, AuditQuery):
        return "audit", [getattr(query, name) for name in _OF_AUDIT]
    metadata = sorted((name, repr(scalars)) for name, scalars in query.metadata.items())
    if isinstance(query, ScheduleQuery):
        return "schedules", query.status, query.name, query.flow_key, metadata
    return query.sort, query.order, [getattr(query, name) for name in _SCALARS], metadata
