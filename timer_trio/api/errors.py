"""From what went wrong to what the consumer is told: the sole home of error codes and statuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from http import HTTPStatus
from math import ceil
from typing import Final

from werkzeug.exceptions import HTTPException, MethodNotAllowed

from timer_trio.access.project_end import ProjectNotEmptyError
from timer_trio.calendar import RuleError
from timer_trio.domain.cells import SeveralCellsError
from timer_trio.domain.errors import (
    ApiKeyNotFoundError,
    CellAwayError,
    ContentionError,
    CreatesUnknownError,
    CreateUnknownError,
    FlowFixedError,
    FlowNotFoundError,
    KeyedCreateUnknownError,
    LastSecretError,
    NameTakenError,
    NoSuchNameError,
    OlderReplicasError,
    ProjectNameTakenError,
    ProjectNotFoundError,
    QuotaUsedUpError,
    RowRefusedError,
    ScheduleCreateUnknownError,
    ScheduleEndedError,
    ScheduleNameTakenError,
    ScheduleNotFoundError,
    SealedError,
    SecretNotFoundError,
    StorageUnavailableError,
    TimerNotFoundError,
    TimerTrioError,
    TooManyPausesError,
    TooManySecretsError,
)
from timer_trio.domain.rate_limit import RateLimit
from timer_trio.domain.timer import Status
from timer_trio.domain.virtual_time import AdvanceEndlessError, ClockResetError

MAX_ERRORS: Final = 100
"""Field errors in one answer: a body of nothing but mistakes must not cost more than it did."""
_MAX_NAME: Final = 64
_NO_KEY: Final = "API key has this id"
REFUSED_BY_DATABASE: Final = "the database refuses a value of this timer"


class Code(IntEnum):
    SUCCESS = 0
    INTERNAL = 1
    INVALID = 2
    NOT_FOUND = 3
    UNAUTHORIZED = 4
    CONFLICT = 5
    RATE_LIMITED = 6
    FORBIDDEN = 7


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; of the request as a whole, if the field is empty."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidRequestError(TimerTrioError):
    """The request cannot be understood, or asks for what is not allowed."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__(str(errors[0]))
        self.errors = errors


class StatusForbidsError(TimerTrioError):
    """The timer is past the point where it could be changed."""

    def __init__(self, verb: str, status: Status) -> None:
        super().__init__(f"cannot {verb} timer with status '{status}'")


class ItemTakenError(TimerTrioError):
    """A live timer has the name of one of many new ones, and stays as it is."""

    def __init__(self, field: str, error: NameTakenError) -> None:
        super().__init__(f"{field}: {error}; none was created")
        self.timer_id = error.timer_id


class IdempotencyConflictError(TimerTrioError):
    """The key of a request stands for another one."""

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key came with another body, or on another route, within the last 24"
            " hours: repeat that request as it was, or send this one with a new key"
        )


class StatusConflictError(TimerTrioError):
    """The timer is not where this could be done."""

    def __init__(self, verb: str, status: Status) -> None:
        super().__init__(f"cannot {verb} timer with status '{status}'")


class NoSuchScheduleNameError(TimerTrioError):
    """No schedule that has not ended has this name."""


class UnreadableIdError(TimerTrioError):
    """The path holds no UUID, so no timer can have it as its id."""


class UnsupportedMediaError(TimerTrioError):
    """The body is not plain JSON in UTF-8."""


class BodyTooLargeError(TimerTrioError):
    """The body is greater than the service takes."""

    def __init__(self, most: int | None) -> None:
        super().__init__(f"the body is too large (at most {most:,} bytes)")


class BusyError(TimerTrioError):
    """There is too much of this going on already."""


class UnauthorizedError(TimerTrioError):
    """The API key is missing or wrong."""


class ForbiddenError(TimerTrioError):
    """The API key is right, but not for this."""


class DefaultProjectError(TimerTrioError):
    """The project that is there from the start stays."""

    def __init__(self) -> None:
        super().__init__("the project default cannot be deleted")


class TooManyRequestsError(TimerTrioError):
    """More requests came than are served: the next one is, after this many whole seconds."""

    def __init__(self, words: str, wait_s: float) -> None:
        self.wait_s = max(ceil(wait_s), 1)
        super().__init__(f"too many requests {words} try again in {self.wait_s}s")


class TooManyWrongKeysError(TooManyRequestsError):
    """Too many requests without a right key have come from this address of late."""

    def __init__(self, wait_s: float) -> None:
        words = "without a right API key from this address: send the right one, or"
        super().__init__(words, wait_s)


class RateLimitedError(TooManyRequestsError):
    """More requests came with one key than its project allows."""

    def __init__(self, limit: RateLimit, wait_s: float) -> None:
        words = (
            "with this API key: over all replicas its project allows"
            f" {limit.requests_per_second:,.12g} a second and {limit.burst:,} at once;"
        )
        super().__init__(words, wait_s)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success."""

    status: HTTPStatus
    code: Code
    message: str
    data: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


RETRY: Final[Mapping[str, str]] = {"Retry-After": "1"}
"""The heartbeat notices within a second that the database is back."""


def refusal_of(error: BaseException) -> Refusal:  # noqa: C901, PLR0911, PLR0912 - one return a kind
    match error:
        case InvalidRequestError():
            return _invalid(error.errors)
        case RuleError():
            return _invalid([FieldError(error.field, str(error))])
        case FlowFixedError():
            return _invalid([FieldError("flow_key", str(error))])
        case StatusForbidsError() | SeveralCellsError():
            return Refusal(HTTPStatus.BAD_REQUEST, Code.INVALID, str(error))
        case NameTakenError() | ItemTakenError() | IdempotencyConflictError():
            return _conflict(error)
        case (
            StatusConflictError()
            | LastSecretError()
            | TooManySecretsError()
            | TooManyPausesError()
            | AdvanceEndlessError()
            | ClockResetError()
        ):
            return Refusal(HTTPStatus.CONFLICT, Code.CONFLICT, str(error))
        case ScheduleNameTakenError() | ScheduleEndedError():
            return _schedule_conflict(error)
        case RowRefusedError():
            return Refusal(HTTPStatus.BAD_REQUEST, Code.INVALID, REFUSED_BY_DATABASE)
        case TimerNotFoundError() | UnreadableIdError() | NoSuchNameError():
            what = "key" if isinstance(error, NoSuchNameError) else "id"
            return Refusal(HTTPStatus.NOT_FOUND, Code.NOT_FOUND, f"no timer has this {what}")
        case ScheduleNotFoundError() | NoSuchScheduleNameError():
            what = "name" if isinstance(error, NoSuchScheduleNameError) else "id"
            return Refusal(HTTPStatus.NOT_FOUND, Code.NOT_FOUND, f"no schedule has this {what}")
        case ProjectNotFoundError() | ApiKeyNotFoundError():
            words = "project has this name" if isinstance(error, ProjectNotFoundError) else _NO_KEY
            return Refusal(HTTPStatus.NOT_FOUND, Code.NOT_FOUND, f"no {words}")
        case ProjectNameTakenError() | ProjectNotEmptyError() | DefaultProjectError():
            return _project_conflict(error)
        case SecretNotFoundError() | FlowNotFoundError():
            is_flow = isinstance(error, FlowNotFoundError)
            words = "no flow has this key" if is_flow else "no valid signing secret has this id"
            return Refusal(HTTPStatus.NOT_FOUND, Code.NOT_FOUND, words)
        case UnsupportedMediaError():
            return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, Code.INVALID, str(error))
        case BodyTooLargeError():
            return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.INVALID, str(error))
        case UnauthorizedError():
            challenge = {"WWW-Authenticate": 'ApiKey, Bearer realm="timer-trio"'}
            return Refusal(
                HTTPStatus.UNAUTHORIZED, Code.UNAUTHORIZED, str(error), headers=challenge
            )
        case ForbiddenError():
            return Refusal(HTTPStatus.FORBIDDEN, Code.FORBIDDEN, str(error))
        case QuotaUsedUpError():
            return Refusal(HTTPStatus.FORBIDDEN, Code.RATE_LIMITED, str(error))
        case TooManyRequestsError():
            wait = {"Retry-After": str(error.wait_s)}
            return Refusal(
                HTTPStatus.TOO_MANY_REQUESTS, Code.RATE_LIMITED, str(error), headers=wait
            )
        case (
            StorageUnavailableError()
            | ContentionError()
            | OlderReplicasError()
            | BusyError()
            | SealedError()
        ):
            return _unavailable(error)
        case HTTPException():
            return _framework(error)
        case _:
            return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, Code.INTERNAL, "internal error")


def shown(name: str) -> str:
    """Return a name that the consumer chose as it is answered: short, and nothing unprintable."""
    if len(name) <= _MAX_NAME and name.isprintable():
        return name
    printable = "".join(c if c.isprintable() else "�" for c in name[:_MAX_NAME])
    return printable if len(name) <= _MAX_NAME else f"{printable}…"


def _invalid(errors: Sequence[FieldError]) -> Refusal:
    listed = [{"field": e.field, "message": e.message} for e in errors[:MAX_ERRORS]]
    return Refusal(HTTPStatus.BAD_REQUEST, Code.INVALID, str(errors[0]), {"errors": listed})


def _conflict(error: NameTakenError | ItemTakenError | IdempotencyConflictError) -> Refusal:
    data = None if isinstance(error, IdempotencyConflictError) else {"id": str(error.timer_id)}
    return Refusal(HTTPStatus.CONFLICT, Code.CONFLICT, str(error), data)


def _schedule_conflict(error: ScheduleNameTakenError | ScheduleEndedError) -> Refusal:
    if isinstance(error, ScheduleNameTakenError):
        data = {"id": str(error.schedule_id)}
        return Refusal(HTTPStatus.CONFLICT, Code.CONFLICT, f"name: {error}", data)
    words = "the schedule has ended, and stays so: create another one"
    return Refusal(HTTPStatus.CONFLICT, Code.CONFLICT, words)


def _project_conflict(
    error: ProjectNameTakenError | ProjectNotEmptyError | DefaultProjectError,
) -> Refusal:
    if isinstance(error, ProjectNameTakenError):
        return Refusal(HTTPStatus.CONFLICT, Code.CONFLICT, "name: a project has it already")
    data = error.live._asdict() if isinstance(error, ProjectNotEmptyError) else None
    return Refusal(HTTPStatus.CONFLICT, Code.CONFLICT, str(error), data)


def _unavailable(
    error: StorageUnavailableError | ContentionError | OlderReplicasError | BusyError | SealedError,
) -> Refusal:
    message = "the database cannot be reached; try again"
    data: Mapping[str, object] | None = None
    if isinstance(error, CreatesUnknownError):
        data = {"ids": [str(timer_id) for timer_id in error.timer_ids]}
        message = "it is not known whether the timers were created: all are there if the first is"
    elif isinstance(error, CreateUnknownError):
        data = {"id": str(error.timer_id)}
        message = "it is not known whether the timer was created; get its id before posting again"
    elif isinstance(error, ScheduleCreateUnknownError):
        data = {"id": str(error.schedule_id)}
        message = (
            "it is not known whether the schedule was created; get its id before posting again"
        )
    elif isinstance(error, KeyedCreateUnknownError):
        message = "it is not known whether this was created; send it again with the same key"
    elif isinstance(error, OlderReplicasError | BusyError | SealedError):
        message = str(error)
    elif isinstance(error, CellAwayError):
        message = f"{error.words}: try again once it is back"
    elif isinstance(error, ContentionError):
        message = "what this changes is being changed by somebody else; try again"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, Code.INTERNAL, message, data, RETRY)


_FRAMEWORK_WORDS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.NOT_FOUND: "no such route",
    HTTPStatus.METHOD_NOT_ALLOWED: "this route does not have that method",
    HTTPStatus.REQUEST_TIMEOUT: "the body did not arrive in time",
}


def _framework(error: HTTPException) -> Refusal:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    words = _FRAMEWORK_WORDS.get(status, status.phrase.lower())
    return Refusal(status, _code_of(status), words, headers=headers)


def _code_of(status: HTTPStatus) -> Code:
    if status is HTTPStatus.NOT_FOUND:
        return Code.NOT_FOUND
    return Code.INTERNAL if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Code.INVALID
