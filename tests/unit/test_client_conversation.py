"""When the client asks again, and for how long it waits: without a socket or a clock."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import httpx
import pytest

from timer_trio.client import (
    InternalError,
    InvalidRequestError,
    NoAnswerError,
    Pause,
    RateLimitedError,
    TimerTrioError,
    UnavailableError,
    UnexpectedAnswerError,
)
from timer_trio.client.call import Call
from timer_trio.client.conversation import Done, Outgoing, Reply, Service, advance, converse
from timer_trio.client.reading import record

URL: Final = "http://timers.example"
PAUSE: Final = {"paused": True, "paused_since": None}
READ: Final = record(Pause)
GET: Final = Call.get("/x", READ)
POST: Final = Call.post("/x", {"a": 1}, READ)
KEYED: Final = Call.create("/x", {"a": 1}, READ, None, takes_key=True)
CUT: Final = httpx.ReadError("cut")
REFUSED: Final = httpx.ConnectError("refused")


def answer(status: int, code: int = 0, data: Any = None, **headers: str) -> httpx.Response:
    body = {"code": code, "message": "words", "data": data}
    request = httpx.Request("GET", URL)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=fields, request=request)


OK: Final = answer(200, data=PAUSE)
AWAY: Final = answer(503, 1)
TOO_OFTEN: Final = answer(429, 6, Retry_After="7")
PROXY: Final = httpx.Response(502, text="<h1>Bad", request=httpx.Request("GET", URL))


def play(
    call: Call[Any], replies: Iterable[Reply], retries: int = 3, max_wait_s: float = 30
) -> tuple[list[Outgoing], list[float], Any]:
    """Play the other side: what was sent, how long was waited, and what came of it."""
    service = Service(url=URL, key="k", project=None, retries=retries, max_wait_s=max_wait_s)
    sent: list[Outgoing] = []
    waited: list[float] = []
    conversation = converse(call, service)
    left = iter(replies)
    try:
        step = advance(conversation, None)
        while not isinstance(step, Done):
            if isinstance(step, Outgoing):
                sent.append(step)
                step = advance(conversation, next(left))
            else:
                waited.append(step)
                step = advance(conversation, None)
    except TimerTrioError as error:
        return sent, waited, error
    return sent, waited, step.value


def keys_in(sent: Iterable[Outgoing]) -> set[str | None]:
    return {each.headers.get("Idempotency-Key") for each in sent}


@pytest.mark.parametrize("failure", [CUT, REFUSED, AWAY, TOO_OFTEN, PROXY, httpx.ReadTimeout("")])
@pytest.mark.parametrize("call", [GET, KEYED])
def test_what_is_safe_is_asked_again(call: Call[Any], failure: Reply) -> None:
    sent, waited, came = play(call, [failure, failure, OK])
    assert came == Pause(paused=True, paused_since=None)
    assert len(sent) == 3
    assert len(waited) == 2
    assert len({each.content for each in sent}) == 1


@pytest.mark.parametrize(
    ("failure", "error"),
    [(CUT, NoAnswerError), (AWAY, UnavailableError), (PROXY, UnexpectedAnswerError)],
)
def test_what_may_have_been_done_is_not_asked_twice(
    failure: Reply, error: type[TimerTrioError]
) -> None:
    sent, _, came = play(POST, [failure, OK])
    assert isinstance(came, error)
    assert came.may_have_happened
    assert len(sent) == 1


@pytest.mark.parametrize("failure", [REFUSED, TOO_OFTEN])
def test_what_was_certainly_not_done_is_asked_again(failure: Reply) -> None:
    sent, _, came = play(POST, [failure, OK])
    assert isinstance(came, Pause)
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("refusal", "error"),
    [(answer(400, 2), InvalidRequestError), (answer(500, 1), InternalError)],
)
def test_what_would_be_refused_again_is_not_asked_again(
    refusal: httpx.Response, error: type[TimerTrioError]
) -> None:
    sent, waited, came = play(GET, [refusal])
    assert isinstance(came, error)
    assert (len(sent), waited) == (1, [])


def test_one_key_is_made_up_for_all_attempts_of_a_create() -> None:
    first, _, _ = play(KEYED, [CUT, AWAY, OK])
    second, _, _ = play(KEYED, [OK])
    (key,) = keys_in(first)
    assert key is not None
    assert keys_in(first).isdisjoint(keys_in(second))


def test_key_of_ones_own_is_sent_as_it_is() -> None:
    mine = Call.create("/x", {}, READ, "order-4711", takes_key=True)
    assert keys_in(play(mine, [CUT, OK])[0]) == {"order-4711"}


def test_no_key_is_made_up_where_nothing_is_asked_again() -> None:
    sent, _, came = play(KEYED, [CUT], retries=0)
    assert keys_in(sent) == {None}
    assert isinstance(came, NoAnswerError)
    named = Call.create("/x", {}, READ, None, takes_key=False)
    sent, _, came = play(named, [CUT])
    assert keys_in(sent) == {None}
    assert isinstance(came, NoAnswerError)


def test_it_is_tried_as_often_as_was_said_and_each_wait_is_longer() -> None:
    sent, waited, came = play(GET, [CUT] * 9, retries=8)
    assert isinstance(came, NoAnswerError)
    assert (came.__cause__, len(sent)) == (CUT, 9)
    for wait_s, most in zip(waited, (0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5), strict=True):
        assert most / 2 <= wait_s <= most


def test_service_is_left_alone_for_as_long_as_it_says() -> None:
    _, waited, came = play(GET, [TOO_OFTEN, OK])
    assert waited == [7]
    assert isinstance(came, Pause)


def test_it_is_not_waited_for_longer_than_was_said() -> None:
    sent, waited, came = play(GET, [TOO_OFTEN, OK], max_wait_s=6.9)
    assert (len(sent), waited) == (1, [])
    assert isinstance(came, RateLimitedError)
    assert came.retry_after_s == 7


@pytest.mark.parametrize("given", ["", "soon", "-1", "1e9", "Fri, 31 Dec 1999 23:59:59 GMT", "²"])
def test_retry_after_that_is_no_number_of_seconds_is_not_heeded(given: str) -> None:
    refused = httpx.Response(
        503,
        json={"code": 1, "message": "x", "data": None},
        headers=[(b"Retry-After", given.encode())],
        request=httpx.Request("GET", URL),
    )
    _, waited, _ = play(GET, [refused, OK])
    assert waited[0] <= 0.2


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"<html>", b"\xff", b'{"code": "0", "data": {}}', b'{"data": {}}',
        b'{"code": 0, "message": "success", "data": null}',
        b'{"code": 0, "message": "success", "data": {"paused": 1, "paused_since": null}}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_answer_of_a_timer_service_is_told(body: bytes) -> None:
    unexpected = httpx.Response(200, content=body, request=httpx.Request("GET", URL))
    _, _, came = play(GET, [unexpected])
    assert isinstance(came, UnexpectedAnswerError)


def test_redirect_is_told_and_not_followed() -> None:
    moved = httpx.Response(
        301, headers={"Location": "https://elsewhere/"}, request=httpx.Request("GET", URL)
    )
    sent, _, came = play(GET, [moved])
    assert len(sent) == 1
    assert "it leads to https://elsewhere/" in str(came)


def test_member_that_this_client_does_not_know_is_left_out() -> None:
    newer = answer(200, data={**PAUSE, "since_version": "9.0"})
    assert play(GET, [newer])[2] == Pause(paused=True, paused_since=None)


def test_refusal_has_all_that_its_answer_has() -> None:
    data = {"errors": [{"field": "delay", "message": "is required"}, {"odd": 1}], "id": "a"}
    came = play(GET, [answer(400, 2, data)])[2]
    assert isinstance(came, InvalidRequestError)
    assert [(each.field, each.message) for each in came.fields] == [("delay", "is required")]
    assert (came.status, came.code, came.message, came.id) == (400, 2, "words", "a")
    unknown = play(POST, [answer(503, 1, {"ids": ["a", "b"]})])[2]
    assert isinstance(unknown, UnavailableError)
    assert unknown.ids == ("a", "b")


def test_key_is_sent_and_never_shown() -> None:
    service = Service(url=URL, key="secret-key", project="shop", retries=0, max_wait_s=0)
    step = advance(converse(POST, service), None)
    assert isinstance(step, Outgoing)
    assert (step.headers["X-API-Key"], step.headers["X-Project"]) == ("secret-key", "shop")
    assert json.loads(step.content or b"") == {"a": 1}
    assert "secret-key" not in repr(service)
