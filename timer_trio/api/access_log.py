"""One line for each request, of what may be in a log: no header, no query, no body, no path.

At `debug` there is one for every request. Those that were refused for whom they come from stand at
`info`, a few a second: whoever sends thousands must not fill a disk. The others are counted.
"""

from __future__ import annotations

import logging
from http import HTTPMethod, HTTPStatus
from typing import Any, Final

import structlog
import trio
from quart import Request

from timer_trio.api.principal import Principal, address_of
from timer_trio.domain.token_buckets import TokenBuckets

REFUSED: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
)
LINES_PER_S: Final = 5.0
"""A gigabyte in ten days at most, and enough to see who it is."""
LINES: Final = 50
"""That may come at once."""
_METHODS: Final = frozenset(HTTPMethod)

log = structlog.get_logger()


class AccessLog:
    """Writes the line of a request, once its answer begins; `to`: the service's log by default."""

    def __init__(self, to: Any = None) -> None:
        self._log = to
        self._lines = TokenBuckets(per_s=LINES_PER_S, burst=LINES, most=1)
        self._left_out = 0

    def note(self, asked: Request, status: int, began_s: float) -> None:
        """Tell of a request that came at `began_s` and is answered now."""
        # Bound once, at the first request: before it nobody knows who is to be quiet.
        if self._log is None:
            self._log = log.bind()
        if self._left_out:
            self._tell_left_out()
        if status in REFUSED:
            self._note_refused(asked, status, began_s)
        elif self._log.is_enabled_for(logging.DEBUG):
            self._log.debug("request", **_values(asked, status, began_s))

    def _note_refused(self, asked: Request, status: int, began_s: float) -> None:
        if not self._log.is_enabled_for(logging.INFO):
            return
        if self._has_room():
            self._log.info("request", **_values(asked, status, began_s))
        elif self._log.is_enabled_for(logging.DEBUG):
            self._log.debug("request", **_values(asked, status, began_s))
        else:
            self._left_out += 1

    def _tell_left_out(self) -> None:
        if self._has_room():
            left_out, self._left_out = self._left_out, 0
            self._log.info("refused_requests_left_out", count=left_out)

    def _has_room(self) -> bool:
        return not self._lines.take("", trio.current_time())


def route_of(asked: Request) -> str | None:
    """Return the template of a request's path; None: there is no such route."""
    rule = asked.url_rule
    return None if rule is None else rule.endpoint.partition(" ")[2]


def _values(asked: Request, status: int, began_s: float) -> dict[str, object]:
    by: Principal | None = getattr(asked, "principal", None)
    return {
        "method": asked.method if asked.method in _METHODS else "unknown",
        "route": route_of(asked),
        "status": status,
        "duration_ms": round((trio.current_time() - began_s) * 1000, 1),
        "key_id": None if by is None else by.key_id or "API_KEY",
        "project": None if by is None else by.project_name,
        "address": address_of(asked),
    }
