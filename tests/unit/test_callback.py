from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final, Unpack
from uuid import UUID

import httpx
import pytest
import trio

from tests.contract.timers import FIRST, NOW, spec
from tests.receivers import GivenPermit
from timer_trio import __version__
from timer_trio.delivery.callback import Caller, request_of
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.outcome import (
    CallbackOutcome,
    Delivered,
    Rejected,
    Short,
    Unreachable,
    Withheld,
)
from timer_trio.domain.timer import (
    ClaimedOccurrence,
    ClaimedTimer,
    Delivery,
    JsonText,
    Method,
    SpecChange,
    TimerId,
)
from timer_trio.testing.receiver import read_head
from timer_trio.transport import (
    Answer,
    Permit,
    Request,
    RequestError,
    ShortageError,
    TransportError,
    WithheldError,
)
from timer_trio.transport.errors import ConnectError, ProtocolError, ReceiveError

TIMER_ID: Final = TimerId(UUID(int=7))


def claimed_timer(*, attempt: int = 1, **changes: Unpack[SpecChange]) -> ClaimedTimer:
    return ClaimedTimer(
        id=TIMER_ID, claim=FIRST, attempt=attempt, requested_at=NOW, spec=spec(**changes)
    )


def test_an_occurrence_names_its_schedule_and_its_instant() -> None:
    occurrence = ClaimedOccurrence(UUID(int=9), NOW, is_superseded=False)
    headers = headers_of(request_of(replace(claimed_timer(), occurrence=occurrence)))
    assert headers["x-schedule-id"] == "00000000-0000-0000-0000-000000000009"
    assert headers["x-schedule-instant"] == "2030-01-01T00:00:00Z"
    assert "x-schedule-id" not in headers_of(sent())


def permit() -> Permit:
    return GivenPermit()


def sent(**changes: Unpack[SpecChange]) -> Request:
    return request_of(claimed_timer(**changes))


def headers_of(request: Request) -> httpx.Headers:
    return read_head(request)[2]


class Receiver:
    """A far end that does what it is told."""

    def __init__(self, answer: Callable[[], Awaitable[Answer]]) -> None:
        self._answer = answer
        self.requests: list[Request] = []

    def begin(self, _request: Request, _permit: Permit) -> None:
        """Have no connection ready."""

    async def send(self, request: Request, permit: Permit) -> Answer:
        assert permit.may_send()
        self.requests.append(request)
        return await self._answer()


def answering(status: int) -> Receiver:
    async def answer() -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(status, (), b"")

    return Receiver(answer)


def failing(error: Exception) -> Receiver:
    async def answer() -> Answer:
        await trio.lowlevel.checkpoint()
        raise error

    return Receiver(answer)


def silent() -> Receiver:
    return Receiver(trio.sleep_forever)


# The request.


def test_request_carries_what_a_receiver_may_rely_on() -> None:
    timer = claimed_timer(attempt=2, execute_at=NOW + timedelta(milliseconds=1500))
    request = request_of(timer)
    method, url, headers = read_head(request)
    assert (method, url) == ("POST", "https://example.com/hook")
    assert request.endpoint == ("https", "example.com", 443)
    assert request.body == b'{"n": 1}'
    assert headers == {
        "host": "example.com",
        "content-length": "8",
        "content-type": "application/json",
        "user-agent": f"timer-trio/{__version__}",
        "x-timer-id": str(TIMER_ID),
        "x-timer-attempt": "2",
        "x-timer-scheduled-at": "2030-01-01T00:00:01.500000Z",
        "webhook-id": str(TIMER_ID),
    }


@pytest.mark.parametrize("method", list(Method))
def test_method_is_the_timers_own(method: Method) -> None:
    assert read_head(sent(callback_method=method))[0] == method.value


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (JsonText("null"), b"null"),
        (JsonText('{"b":1, "a":2}'), b'{"b":1, "a":2}'),
        (JsonText('"日本"'), '"日本"'.encode()),
        (JsonText("123456789012345678901234567890"), b"123456789012345678901234567890"),
    ],
)
def test_payload_goes_out_as_it_came_in(payload: JsonText, body: bytes) -> None:
    assert sent(callback_payload=payload).body == body


def test_no_payload_is_no_body_and_no_content_type() -> None:
    request = sent(callback_payload=None)
    assert request.body == b""
    assert "Content-Type" not in headers_of(request)


@pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
def test_timers_own_header_wins_whatever_its_case(name: str) -> None:
    request = sent(callback_headers={name: "application/vnd.own+json", "X-Own": "1"})
    assert headers_of(request).get_list("Content-Type") == ["application/vnd.own+json"]
    assert headers_of(request)["X-Own"] == "1"


def test_timers_own_user_agent_wins() -> None:
    request = sent(callback_headers={"user-agent": "mine"})
    assert headers_of(request).get_list("User-Agent") == ["mine"]


@pytest.mark.parametrize("delivery", list(Delivery))
def test_transport_learns_how_often_it_may_send(delivery: Delivery) -> None:
    assert sent(delivery=delivery).is_once is (delivery is Delivery.AT_MOST_ONCE)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"X-A": "1\r\nX-B: 2"}, "line break"),
        ({"X-A\n": "1"}, "line break"),
        ({"X-A": "ü"}, "ASCII"),
    ],
)
def test_header_that_would_break_the_request_makes_none(
    headers: dict[str, str], words: str
) -> None:
    for _ in range(2):  # nor does it once it is known
        with pytest.raises(RequestError, match=words):
            sent(callback_headers=headers)


def test_requests_of_many_timers_differ_only_in_what_is_their_own() -> None:
    one, two = sent(callback_payload=JsonText("1")), sent(callback_payload=JsonText("22"))
    assert two.head == one.head.replace(b"Length: 1", b"Length: 2")
    own = sent(callback_headers={"Content-Type": "text/plain"})
    assert headers_of(own)["content-type"] == "text/plain"
    assert headers_of(sent())["content-type"] == "application/json"


# How it ends.


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Delivered(200)),
        (299, Delivered(299)),
        (199, Rejected(199)),
        (302, Rejected(302)),
        (404, Rejected(404)),
        (503, Rejected(503)),
    ],
)
async def test_answer_decides(status: int, outcome: CallbackOutcome) -> None:
    receiver = answering(status)
    caller = Caller(receiver)
    assert await caller.call_back(sent(), permit(), StoreResponse.NONE) == outcome
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("kind", [ConnectError, ReceiveError, ProtocolError])
async def test_no_answer_is_a_value_with_its_reason(kind: type[TransportError]) -> None:
    outcome = await Caller(failing(kind("refused by 10.0.0.7:443"))).call_back(sent(), permit())
    assert outcome == Unreachable("refused by 10.0.0.7:443")


async def test_send_withheld_is_told_apart_from_a_failure() -> None:
    outcome = await Caller(failing(WithheldError("swept"))).call_back(sent(), permit())
    assert outcome == Withheld()


async def test_shortage_of_our_own_is_told_apart_from_a_failure() -> None:
    short = failing(ShortageError("no file descriptor left to connect to 10.0.0.7:443"))
    outcome = await Caller(short).call_back(sent(), permit())
    assert outcome == Short("no file descriptor left to connect to 10.0.0.7:443")


async def test_error_of_our_own_is_no_outcome() -> None:
    with pytest.raises(KeyError):
        await Caller(failing(KeyError("bug"))).call_back(sent(), permit())


async def test_cancellation_is_no_outcome() -> None:
    with trio.CancelScope() as stop:
        stop.cancel()
        await Caller(silent()).call_back(sent(), permit())
    assert stop.cancelled_caught
