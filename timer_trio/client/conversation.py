"""What is sent, what an answer means, and what is tried again after how long: no I/O.

A conversation is a generator. It yields what is to be done (a request to be sent, or seconds to be
waited), is sent the answer, or thrown what httpx raised, and returns what its caller gets.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import count
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import uuid4

import httpx

from timer_trio import __version__
from timer_trio.client.answers import Page
from timer_trio.client.call import JSON, Call, Run, given
from timer_trio.client.errors import (
    IncompleteError,
    NoAnswerError,
    RefusedError,
    TimerTrioError,
    UnexpectedAnswerError,
    data_of,
    json_in,
)

T = TypeVar("T")

_FIRST_WAIT_S: Final = 0.2
_MAX_BACKOFF_S: Final = 5.0
_TRANSIENT: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Of the service, or of a proxy before it: another time it may do."""


class Outgoing(NamedTuple):
    """A request to be sent."""

    method: str
    url: str
    params: dict[str, str]
    headers: dict[str, str]
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What the caller gets."""

    value: T


Step = Outgoing | float
"""What is to be done next: a request to be sent, or seconds to be waited."""
Reply = httpx.Response | httpx.RequestError | None
"""What came of it."""
Conversation = Generator[Step, httpx.Response | None, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where the service is, who asks it, and how often."""

    url: str
    key: str | None = field(repr=False)
    project: str | None
    retries: int
    max_wait_s: float

    def headers(
        self, media: str | None = None, idempotency_key: str | None = None
    ) -> dict[str, str]:
        """Return the headers of a request.

        Raises:
            ValueError: what was given for one of them cannot be one, in words that do not tell it.
        """
        headers = given(
            {
                "User-Agent": f"timer-trio-client/{__version__}",
                "X-API-Key": self.key,
                "X-Project": self.project,
                "Content-Type": media,
                "Idempotency-Key": idempotency_key,
            }
        )
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"what is sent as {name} must be visible ASCII characters")
        return headers

    def at(self, path: str) -> str:
        return f"{self.url}{path}"

    def wait_s(self, tried: int, error: TimerTrioError) -> float | None:
        """Return how long to wait after so many attempts; None: no longer try."""
        if tried > self.retries:
            return None
        # No two clients come back at once that were refused at once.
        most = min(_FIRST_WAIT_S * 2 ** (tried - 1), _MAX_BACKOFF_S)
        wait_s = max(most * random.uniform(0.5, 1), error.retry_after_s or 0)  # noqa: S311 - no secret
        return wait_s if wait_s <= self.max_wait_s else None


def converse(call: Call[T], service: Service) -> Conversation[T]:
    """Ask once, and again where that is safe.

    Raises:
        NoAnswerError: nobody answered, however often it was tried.
        RefusedError: the service says no.
        UnexpectedAnswerError: what answered is no timer service.
    """
    # A key costs the service a row: it has none that would never be sent again.
    if call.takes_key and call.idempotency_key is None and service.retries:
        call = replace(call, idempotency_key=uuid4().hex)
    request = _request(call, service)
    for tried in count(1):
        try:
            answer = yield request
            return call.read(_data_in(answer, call))
        except httpx.RequestError as error:
            failure: TimerTrioError = NoAnswerError(service.url, error)
            failure.__cause__ = error
        except TimerTrioError as error:
            failure = error
        wait_s = service.wait_s(tried, failure) if _may_be_repeated(call, failure) else None
        if wait_s is None:
            raise failure
        yield wait_s
    raise AssertionError("it ends by an answer or an error")


def advance(conversation: Conversation[T], reply: Reply) -> Step | Done[T]:
    """Go on with a conversation; it begins with None. Raises as `converse`."""
    try:
        if isinstance(reply, httpx.RequestError):
            return conversation.throw(reply)
        return conversation.send(reply)
    except StopIteration as end:
        return Done(end.value)


def following(call: Call[Page[T]], page: Page[T]) -> Call[Page[T]] | None:
    """Return what asks for the page after this one; None: there is none."""
    return None if page.next_cursor is None else call.with_params(cursor=page.next_cursor)


class RunReader(Generic[T]):
    """Reads the lines of an answer that tells how far it is."""

    def __init__(self, run: Run[T]) -> None:
        self._run = run
        self._known: dict[str, object] = {}
        self._ended: tuple[int, str] | None = None

    def feed(self, line: str) -> None:
        """Take one line of the answer."""
        match json_in(line):
            case {"code": int() as code, "message": str() as message, "data": data}:
                self._ended = code, message
                self._take(data)
            case dict() as data:
                self._take(data)
                if self._run.on_progress is not None:
                    self._run.on_progress(self._progress())
            case _:
                pass

    def result(self) -> T:
        """Return what the last line says.

        Raises:
            IncompleteError: it is no success, or did not come.
        """
        if self._ended is None:
            raise self.broken("the service ended its answer before that was whole")
        code, message = self._ended
        if code != 0:
            raise self.broken(message)
        return self._progress()

    def broken(self, words: str) -> IncompleteError:
        return IncompleteError(words, self._progress())

    def _take(self, data: object) -> None:
        if isinstance(data, dict):
            lasting = self._run.lasting
            kept = {name: value for name, value in self._known.items() if name in lasting}
            self._known = kept | data

    def _progress(self) -> T:
        return self._run.read(self._known)


def _request(call: Call[T], service: Service) -> Outgoing:
    return Outgoing(
        method=call.method,
        url=service.at(call.path),
        params=dict(call.params),
        headers=service.headers(None if call.content is None else JSON, call.idempotency_key),
        content=call.content,
    )


def _data_in(answer: httpx.Response | None, call: Call[T]) -> object:
    if answer is None:
        raise AssertionError("a request that was sent has an answer, or raises")
    if answer.status_code in call.statuses:
        match json_in(answer.content):
            case {"code": int(), "data": dict() as data}:
                return data
            case _:
                pass
    return data_of(answer)


def _may_be_repeated(call: Call[T], error: TimerTrioError) -> bool:
    is_safe = call.is_safe or call.idempotency_key is not None
    # Who is refused for having come too often has done nothing.
    return _is_transient(error) and (is_safe or not error.may_have_happened)


def _is_transient(error: TimerTrioError) -> bool:
    if isinstance(error, RefusedError | UnexpectedAnswerError):
        return error.status in _TRANSIENT
    return isinstance(error, NoAnswerError)
