"""What a route is: its place, who may ask, what it reads, and how it is described.

From it come the URL map, the check of the key, the limits of bodies and the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter
from quart.typing import RouteCallable

from timer_trio.api.body.media import JSON
from timer_trio.domain.keys import MAX_KEY_LENGTH
from timer_trio.domain.project import Scope

Json = dict[str, Any]

ON_STORED: Final = (400, 401, 500, 503)
"""Refusals of a route that asks the database."""
ON_ONE: Final = (*ON_STORED, 404)
"""Of one that asks for one row of it."""
ON_BODY: Final = (408, 413, 415)
"""Of one that has a body besides."""
FROM_THE_GUARD: Final = (401, 403, 429)
"""Of any route that asks for a key."""
ON_KEY: Final = (409,)
"""Of one that takes a key, whatever its kind."""

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
KEY_PARAMETER: Final[Json] = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "required": False,
    "description": "With it the request can be repeated, also after a 503 or a lost answer: for 24 "
    f"hours the same key and an equal body answer what the first one answered, with `{REPLAYED}: "
    "true`, and create nothing more. Another body, or another route, is a 409. What was refused "
    "does not use the key up.",
    "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY_LENGTH}}}$"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a route reads: `limits` tell a person how much of it."""

    model: TypeAdapter[Any]
    example: Mapping[str, object] | str
    limits: str
    media: str = JSON
    most_bytes: int | None = None
    """None: as many as any other route takes."""
    is_required: bool = True
    is_streamed: bool = False
    """Whether the request has a BodyStream as its body, without a limit in bytes."""

    @property
    def is_usual(self) -> bool:
        """Whether it is collected under the limit that holds for any route."""
        return self.most_bytes is None and not self.is_streamed


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """What is answered if all goes well: an envelope around `data`, or something of another type.

    `example`: what it looks like; of `data`, of which the example is made of those of its fields,
    the fields that look otherwise here.
    `has_page`: a browser is answered with a page instead.
    `makes_a_timer`, `makes_a_schedule`: `Location` names it.
    `also`: another status with which the same may be answered.
    `may_be_replayed`: an earlier answer may come again, and a header says so.
    `down`: the 503 carries data as well, and this is what looks otherwise there.
    """

    words: str
    data: type | None = None
    example: Any = None
    media: str = JSON
    status: int = 200
    has_page: bool = False
    makes_a_timer: bool = False
    makes_a_schedule: bool = False
    also: int | None = None
    may_be_replayed: bool = False
    down: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A route as its consumers read of it; `name` is its operationId, `refusals` are statuses."""

    name: str
    tag: str
    summary: str
    description: str
    success: Success
    refusals: Sequence[int] = ()
    parameters: Sequence[Json] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path, whose parameters stand in braces.

    `is_open`: it is answered without the key. `scope`: what a key must be for; None: to read for a
    GET, else to write. `is_of_service`: it tells of all projects or changes them, so that it is for
    the key of the whole service alone; with the scope `metrics`, for such keys of the default
    project as well. Without an `operation` it is not in the document.

    Raises:
        ValueError: a body that is not the usual one is read below a path with parameters.
    """

    method: str
    path: str
    handler: RouteCallable
    operation: Operation | None = None
    body: Body | None = None
    is_open: bool = False
    scope: Scope | None = None
    is_of_service: bool = False

    @property
    def endpoint(self) -> str:
        """Its name among all routes."""
        return f"{self.method} {self.path}"

    @property
    def needed_scope(self) -> Scope:
        """What a key must be for, if the route asks for one."""
        if self.scope is not None:
            return self.scope
        return Scope.READ if self.method == "GET" else Scope.WRITE

    @property
    def statuses(self) -> frozenset[int]:
        """With what it may be answered, as far as that is known."""
        of_guard = () if self.is_open else FROM_THE_GUARD
        if self.operation is None:
            return frozenset({HTTPStatus.OK.value, *of_guard})
        success = self.operation.success
        also = set() if success.also is None else {success.also}
        if success.down is not None:
            also.add(HTTPStatus.SERVICE_UNAVAILABLE.value)
        return frozenset({success.status, *also, *self.operation.refusals, *of_guard})

    def __post_init__(self) -> None:
        # How a body is read is looked up by the path of a request, before its route is known.
        if "{" in self.path and self.body is not None and not self.body.is_usual:
            raise ValueError(f"{self.path} has parameters: its body must be of the usual kind")
