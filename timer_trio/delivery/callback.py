"""One callback: the request that is sent, and how it can end."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import httpx
import trio

from timer_trio import __version__
from timer_trio.domain.outcome import (
    CallbackOutcome,
    Delivered,
    Rejected,
    Short,
    TimedOut,
    Unreachable,
    Withheld,
)
from timer_trio.domain.timer import ClaimedTimer, Method, rfc3339
from timer_trio.transport import SendWithheld, ShortageError

USER_AGENT: Final = f"timer-trio/{__version__}"
# Without a body they still say that it is empty (RFC 9110, section 8.6).
_METHODS_WITH_BODY: Final = frozenset({Method.POST, Method.PUT, Method.PATCH})


async def call_back(
    transport: httpx.AsyncBaseTransport,
    request: httpx.Request,
    may_send: Callable[[], bool],
    scope: trio.CancelScope,
) -> CallbackOutcome:
    """Send the request of a claimed timer and wait for the answer, until the deadline of `scope`.

    Every ending that a receiver or the network can cause is a value. `may_send` is asked right
    before the first byte goes out. `scope`, which carries the timeout, is entered here: whoever
    cancels it gets the answer of a timeout.

    Cancellation: whether something was sent is then unknown.
    """
    request.extensions["may_send"] = may_send
    with scope:
        try:
            response = await transport.handle_async_request(request)
        except SendWithheld:
            return Withheld()
        except ShortageError as error:
            return Short(str(error))
        except httpx.TransportError as error:
            return Unreachable(str(error))
        if response.is_success:
            return Delivered(response.status_code)
        return Rejected(response.status_code)
    return TimedOut(request.extensions.get("phase"))


def request_of(timer: ClaimedTimer) -> httpx.Request:
    """Make the request of a timer; `call_back` adds who allows to send it."""
    spec = timer.spec
    timer_id = str(timer.id)
    url = _url(spec.callback_url)
    headers = [
        ("Host", url.netloc.decode("ascii")),
        ("User-Agent", USER_AGENT),
        ("X-Timer-Id", timer_id),
        ("X-Timer-Attempt", str(timer.attempt)),
        ("X-Timer-Scheduled-At", rfc3339(spec.execute_at)),
        ("webhook-id", timer_id),
    ]
    content = b"" if spec.callback_payload is None else spec.callback_payload.encode()
    if spec.callback_payload is not None:
        headers.append(("Content-Type", "application/json"))
    if content or spec.callback_method in _METHODS_WITH_BODY:
        headers.append(("Content-Length", str(len(content))))
    request = httpx.Request(
        spec.callback_method,
        url,
        headers=headers,
        # Given as content, httpx would take ten times as long to find out what is known here.
        stream=httpx.ByteStream(content),
        extensions={"delivery": spec.delivery},
    )
    request.read()
    if spec.callback_headers:
        # The timer's own win, whatever their case.
        request.headers.update(spec.callback_headers)
    return request


@lru_cache(maxsize=1_024)  # most callbacks go to a few URLs, and parsing one costs 10 µs
def _url(url: str) -> httpx.URL:
    return httpx.URL(url)
