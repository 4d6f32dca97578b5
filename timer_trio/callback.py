"""One callback: the request that is sent, and how it can end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import httpx
import trio

from timer_trio import __version__
from timer_trio.domain.outcome import (
    CallbackOutcome,
    Delivered,
    Rejected,
    TimedOut,
    Unreachable,
    Withheld,
)
from timer_trio.domain.timer import ClaimedTimer, rfc3339
from timer_trio.transport import SendWithheld

USER_AGENT: Final = f"timer-trio/{__version__}"


async def call_back(
    transport: httpx.AsyncBaseTransport, timer: ClaimedTimer, may_send: Callable[[], bool]
) -> CallbackOutcome:
    """Make the callback of a claimed timer, within the timer's own timeout.

    Every ending that a receiver or the network can cause is a value. `may_send` is asked right
    before the first byte goes out.

    Cancellation: whether something was sent is then unknown.
    """
    with trio.move_on_after(timer.spec.timeout_s):
        try:
            response = await transport.handle_async_request(request_of(timer, may_send))
        except SendWithheld:
            return Withheld()
        except httpx.TransportError as error:
            return Unreachable(str(error))
        if response.is_success:
            return Delivered(response.status_code)
        return Rejected(response.status_code)
    return TimedOut()


def request_of(timer: ClaimedTimer, may_send: Callable[[], bool]) -> httpx.Request:
    spec = timer.spec
    headers = httpx.Headers(
        {
            "User-Agent": USER_AGENT,
            "X-Timer-Id": str(timer.id),
            "X-Timer-Attempt": str(timer.attempt),
            "X-Timer-Scheduled-At": rfc3339(spec.execute_at),
            "webhook-id": str(timer.id),
        }
    )
    if spec.callback_payload is not None:
        headers["Content-Type"] = "application/json"
    # The timer's own win, whatever their case.
    headers.update(spec.callback_headers)
    return httpx.Request(
        spec.callback_method,
        spec.callback_url,
        headers=headers,
        content=None if spec.callback_payload is None else spec.callback_payload.encode(),
        extensions={"delivery": spec.delivery, "may_send": may_send},
    )
