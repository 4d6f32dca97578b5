"""The bytes of a request's body, if its head says that it is what the route reads."""

from __future__ import annotations

from typing import Final

from quart import request
from werkzeug.exceptions import RequestEntityTooLarge

from timer_trio.api.errors import BodyTooLargeError, UnsupportedMediaError
from timer_trio.api.parameters import refuse_parameters

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"


def check_head(media: str) -> None:
    """Check that a request has no parameters, and a plain body of this type in UTF-8.

    Raises:
        InvalidRequestError, UnsupportedMediaError: it is otherwise.
    """
    refuse_parameters(request.query_string)
    if request.content_type != media:  # as almost nobody writes it
        _check_type(media)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaError("send the body without a Content-Encoding")


def _check_type(media: str) -> None:
    if request.mimetype != media:
        raise UnsupportedMediaError(f"send the body with Content-Type: {media}")
    if request.mimetype_params.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaError("send the body in UTF-8")


async def json_body() -> bytes:
    """Read the whole body of a request.

    Raises:
        InvalidRequestError, UnsupportedMediaError, BodyTooLargeError: it is not JSON to read.
    """
    check_head(JSON)
    return await raw_body()


async def optional_json_body() -> bytes:
    """Read the whole body of a request, which may be empty, whatever its head says then.

    Raises:
        InvalidRequestError, UnsupportedMediaError, BodyTooLargeError: it is not JSON to read.
    """
    refuse_parameters(request.query_string)
    if body := await raw_body():
        check_head(JSON)
    return body


async def raw_body() -> bytes:
    """Read the whole body of a request, whatever its head says.

    Raises:
        BodyTooLargeError: it is longer than may be.
    """
    try:
        return await request.get_data(cache=True, as_text=False, parse_form_data=False)
    except RequestEntityTooLarge:
        raise BodyTooLargeError(request.max_content_length) from None
