"""One callback: the request that is sent, and how it can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from timer_trio import __version__
from timer_trio.delivery.signing import Sign
from timer_trio.domain.answer import KEPT_BODY_BYTES, KeptAnswer, StoreResponse, kept_answer
from timer_trio.domain.outcome import (
    CallbackOutcome,
    Delivered,
    Rejected,
    Short,
    Unreachable,
    Withheld,
)
from timer_trio.domain.timer import (
    CallbackUrl,
    ClaimedOccurrence,
    ClaimedTimer,
    Delivery,
    Method,
    rfc3339,
)
from timer_trio.domain.trace import TraceContext, traceparent_of
from timer_trio.transport import (
    Answer,
    Begun,
    Endpoint,
    Permit,
    Request,
    RequestError,
    ShortageError,
    Transport,
    TransportError,
    WithheldError,
)

USER_AGENT: Final = f"timer-trio/{__version__}"
# Without a body they still say that it is empty (RFC 9110, section 8.6).
_METHODS_WITH_BODY: Final = frozenset({Method.POST, Method.PUT, Method.PATCH})


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes callbacks; of a body that is to be kept its first `kept_body_bytes` are."""

    transport: Transport
    kept_body_bytes: int = KEPT_BODY_BYTES

    async def call_back(
        self,
        request: Request,
        permit: Permit,
        kept: StoreResponse = StoreResponse.FAILURES,
        begun: Begun | None = None,
    ) -> CallbackOutcome:
        """Send the request of a claimed timer and wait for the answer.

        `begun`: it has gone out already, and only the answer is waited for.

        Every ending that a receiver or the network can cause is a value. `kept` says which answers
        the outcome is to have. There is no timeout: the caller's cancel scope is one.

        Cancellation: whether something was sent is then unknown.
        """
        try:
            answer = await (begun(permit) if begun else self.transport.send(request, permit))
        except TransportError as error:
            return outcome_of(error)
        if 200 <= answer.status < 300:
            is_kept = kept is StoreResponse.ALL
            return Delivered(answer.status, self._keep(answer) if is_kept else None)
        is_kept = kept is not StoreResponse.NONE
        return Rejected(answer.status, answer.headers, self._keep(answer) if is_kept else None)

    def _keep(self, answer: Answer) -> KeptAnswer:
        return kept_answer(answer.headers, answer.body, self.kept_body_bytes)


def outcome_of(error: TransportError) -> Withheld | Short | Unreachable:
    """Tell how a callback ends whose request got no answer."""
    if isinstance(error, WithheldError):
        return Withheld()
    if isinstance(error, ShortageError):
        return Short(str(error))
    return Unreachable(str(error))


def request_of(
    timer: ClaimedTimer, sign: Sign | None = None, span: TraceContext | None = None
) -> Request:
    """Make the request of a timer, which `sign` signs as it goes out; it tells of its `span`.

    Raises:
        RequestError: its headers make none.
    """
    callback = timer.spec.callback
    body, content_type = b"", None
    if callback.payload is not None:
        body, content_type = callback.payload.encode(), "application/json"
    own_headers = tuple(callback.headers.items())
    endpoint, common = _common(callback.method, callback.url, content_type, own_headers)
    length = ""
    if body or callback.method in _METHODS_WITH_BODY:
        length = f"Content-Length: {len(body)}\r\n"
    timer_id = str(timer.id)
    trace = "" if span is None else _traced(span, callback.headers)
    occurrence = "" if timer.occurrence is None else _told_of(timer.occurrence)
    head = (
        f"X-Timer-Id: {timer_id}\r\n"
        f"X-Timer-Attempt: {timer.attempt}\r\n"
        f"X-Timer-Scheduled-At: {rfc3339(timer.spec.execute_at)}\r\n"
        f"webhook-id: {timer_id}\r\n"
        f"{occurrence}{trace}{length}\r\n"
    )
    is_once = callback.delivery is Delivery.AT_MOST_ONCE
    signed = None if sign is None else partial(sign, timer_id.encode("ascii"))
    return Request(endpoint, common + head.encode("ascii"), body, is_once, signed)


def _traced(span: TraceContext, own_headers: Mapping[str, str]) -> str:
    """Return the line that tells of a span, unless the timer has one of its own."""
    if any(name.lower() == "traceparent" for name in own_headers):
        return ""
    return f"traceparent: {traceparent_of(span)}\r\n"


def _told_of(occurrence: ClaimedOccurrence) -> str:
    return (
        f"X-Schedule-Id: {occurrence.schedule_id}\r\n"
        f"X-Schedule-Instant: {rfc3339(occurrence.instant)}\r\n"
    )


@lru_cache(maxsize=512)  # most callbacks have few heads in common; of the longest 8 MB in all
def _common(
    method: Method,
    url: CallbackUrl,
    content_type: str | None,
    own_headers: tuple[tuple[str, str], ...],
) -> tuple[Endpoint, bytes]:
    """Return where the requests of many timers go, and what they begin with.

    A timer's own headers win.
    """
    headers = {"user-agent": ("User-Agent", USER_AGENT)}
    if content_type:
        headers["content-type"] = ("Content-Type", content_type)
    headers |= {name.lower(): (name, value) for name, value in own_headers}
    lines = [f"{method} {url.target} HTTP/1.1", f"Host: {url.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.values()]
    if any("\r" in line or "\n" in line for line in lines):
        raise RequestError("a line of the request holds a line break")
    try:
        head = "".join(f"{line}\r\n" for line in lines).encode("ascii")
    except UnicodeEncodeError:
        raise RequestError("a header holds something else than ASCII") from None
    return Endpoint(url.scheme, url.host, url.port), head
