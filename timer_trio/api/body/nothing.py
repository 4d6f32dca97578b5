"""A body of a route that takes no fields."""

from __future__ import annotations

from timer_trio.api.body.json_body import reading_object
from timer_trio.api.body.media import optional_json_body
from timer_trio.api.body.slices import Slices
from timer_trio.api.errors import FieldError, InvalidRequestError, shown


async def refuse_fields(slices: Slices) -> None:
    """Check that a request has no body, or an empty object.

    Raises:
        InvalidRequestError, UnsupportedMediaError, BodyTooLargeError: it has more.
    """
    raw = await optional_json_body() or b"{}"
    reading = reading_object(raw, verbatim="", known=(), most_values=0)
    if members := await slices.finish(reading):
        words = "is not a field of this route: it takes none"
        raise InvalidRequestError(*(FieldError(shown(name), words) for name in members))
