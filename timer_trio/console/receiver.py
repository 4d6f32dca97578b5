"""A receiver to try callbacks with: it answers with what has arrived.

That answer is kept with the attempt, as any receiver's is: so it is there for whoever looks, on any
replica, and nothing is kept here. Who has no address that the service has given out is answered
404, so nobody else can use it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from timer_trio.console.session import Sealer

KEPT: Final = timedelta(days=1)
"""After it an address is nobody's: who tries something sees at once what comes of it."""
_PURPOSE: Final = "receiver"
MOST_BYTES: Final = 4_000
"""Of an answer: by default, RESPONSE_BODY_BYTES, all of it is kept."""
_MOST_ADDRESS: Final = 200
RECEIVED: Final = "received"


class Answers(StrEnum):
    """What a receiver is to answer."""

    OK = "ok"
    TWICE = "twice"
    NEVER = "never"


class _Received(TypedDict):
    method: str
    headers: list[tuple[str, str]]
    body: str
    truncated: bool


class _Told(TypedDict):
    received: _Received


_TOLD: Final = TypeAdapter(_Told)


class Arrived(NamedTuple):
    method: str
    headers: list[tuple[str, str]]
    body: bytes


def address_of(answers: Answers, now: datetime, sealer: Sealer) -> str:
    """Return the last part of the address of a receiver."""
    text = f"{answers}.{int((now + KEPT).timestamp())}"
    return f"{text}.{sealer.token(_PURPOSE, text)}"


def answers_of(address: str, now: datetime, sealer: Sealer) -> Answers | None:
    """Return what a receiver answers that has this address; None: there is none such."""
    text, _, token = address.rpartition(".")
    if len(address) > _MOST_ADDRESS or not sealer.bears(_PURPOSE, text, token):
        return None
    answers, _, until = text.partition(".")
    return Answers(answers) if now.timestamp() < int(until) else None


def status_of(answers: Answers, headers: Mapping[str, str]) -> int:
    """Return what is answered to an attempt, which says which one it is."""
    attempt = headers.get("X-Timer-Attempt", "1")
    is_early = attempt in {"1", "2"}
    if answers is Answers.NEVER or (answers is Answers.TWICE and is_early):
        return 503
    return 200


def told_of(arrived: Arrived) -> bytes:
    """Return what is answered of what has arrived: of what is long, the beginning."""
    body = whole = arrived.body.decode(errors="replace")
    headers = arrived.headers
    while len(told := _told(arrived.method, headers, body, len(whole) > len(body))) > MOST_BYTES:
        if body:
            body = body[: len(body) // 2]
        else:
            headers = headers[: len(headers) // 2]
    return told


def _told(method: str, headers: list[tuple[str, str]], body: str, is_cut: bool) -> bytes:  # noqa: FBT001 - see above
    told = {"method": method, "headers": headers, "body": body, "truncated": is_cut}
    return json.dumps({RECEIVED: told}, ensure_ascii=False).encode(errors="replace")


def read_back(answer: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what a kept answer tells of what has arrived; None: it is none of ours."""
    if answer is None or answer["body_encoding"] != "utf-8":
        return None
    try:
        told = _TOLD.validate_json(answer["body"])
    except ValidationError:  # whoever answers chooses what
        return None
    return told["received"]
