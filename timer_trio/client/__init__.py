"""A client of the service, for code that blocks and for `async` code, under trio or asyncio.

    with Client("https://timers.example.com", key) as client:
        timer = client.timers.create("https://example.com/hook", delay=60)

It needs none of what the service needs, and imports nothing of it. From the question to its answer:

- ``clients``       `Client` and `AsyncClient`
- ``timers``, ``schedules``, ``flows``, ``destinations``, ``signing_secrets``
                    what can be asked, a method a route
- ``operation``     how one such method serves both clients
- ``fields``        what may be asked for
- ``call``          one question, as a value
- ``conversation``  when it is asked again, and what an answer means: no I/O
- ``drivers``       the I/O, and nothing else
- ``reading``       JSON to dataclasses
- ``answers``       those dataclasses
- ``errors``        why a call failed
- ``webhooks``      whether a callback is genuine
"""

from timer_trio.client.answers import (
    Attempt,
    Backfilled,
    Breaker,
    Bulk,
    Canceled,
    DeletedFlow,
    DeletedSecret,
    Destination,
    DestinationPause,
    Durations,
    EndedSchedule,
    Flow,
    FlowState,
    Health,
    Import,
    LastHour,
    LastOccurrence,
    LineError,
    ListedSchedule,
    ListedTimer,
    Page,
    Pause,
    Readiness,
    ReceiverAnswer,
    Schedule,
    SigningSecret,
    Timer,
    TimerSummary,
    UnknownLines,
)
from timer_trio.client.clients import AsyncClient, Client
from timer_trio.client.errors import (
    ConflictError,
    FieldError,
    ForbiddenError,
    IncompleteError,
    InternalError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    QuotaUsedUpError,
    RateLimitedError,
    RefusedError,
    TimerTrioError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    VerificationError,
)
from timer_trio.client.fields import NewTimer, Rate, ResultTarget, Retry, TimerFilters
from timer_trio.client.webhooks import VerifiedCallback, verify

__all__ = [
    "AsyncClient",
    "Attempt",
    "Backfilled",
    "Breaker",
    "Bulk",
    "Canceled",
    "Client",
    "ConflictError",
    "DeletedFlow",
    "DeletedSecret",
    "Destination",
    "DestinationPause",
    "Durations",
    "EndedSchedule",
    "FieldError",
    "Flow",
    "FlowState",
    "ForbiddenError",
    "Health",
    "Import",
    "IncompleteError",
    "InternalError",
    "InvalidRequestError",
    "LastHour",
    "LastOccurrence",
    "LineError",
    "ListedSchedule",
    "ListedTimer",
    "NewTimer",
    "NoAnswerError",
    "NotFoundError",
    "Page",
    "Pause",
    "QuotaUsedUpError",
    "Rate",
    "RateLimitedError",
    "Readiness",
    "ReceiverAnswer",
    "RefusedError",
    "ResultTarget",
    "Retry",
    "Schedule",
    "SigningSecret",
    "Timer",
    "TimerFilters",
    "TimerSummary",
    "TimerTrioError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnknownLines",
    "VerificationError",
    "VerifiedCallback",
    "verify",
]
