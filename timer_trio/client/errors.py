"""Why a call failed: one tree, by what its caller can do about it.

TimerTrioError
  NoAnswerError             the service was not reached, or did not answer
  UnexpectedAnswerError     what answered is no timer service: a proxy, or another server
  RefusedError              the service says no
    InvalidRequestError     to what was asked, field by field
    NotFoundError           there is no such timer, schedule, flow ...
    UnauthorizedError       the key is missing or wrong
    ForbiddenError          the key lacks the scope
    ConflictError           something else is there already
    RateLimitedError        more requests came than are served
    QuotaUsedUpError        the project has no room for more timers
    UnavailableError        it cannot at the moment
    InternalError           a fault of the service
  IncompleteError           an import or a bulk action that ended before its end
  VerificationError         a callback that is not genuine
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httpx

_NOT_SENT: Final = (
    httpx.UnsupportedProtocol,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
)
"""After these the service knows nothing of the request."""
_MAX_SHOWN: Final = 200
"""Characters of a stranger's answer in an error."""


class TimerTrioError(Exception):
    """Whatever went wrong between this client and its service."""

    may_have_happened: bool = False
    """Whether what was asked for may have been done all the same."""
    retry_after_s: float | None = None
    """After how many seconds the service wants to be asked again; None: it does not say."""


class NoAnswerError(TimerTrioError):
    """The service was not reached, or did not answer; `__cause__` is what httpx says."""

    def __init__(self, url: str, error: Exception) -> None:
        super().__init__(f"no answer from the service at {url}: {words_of(error)}")
        self.may_have_happened = not isinstance(error, _NOT_SENT)


class UnexpectedAnswerError(TimerTrioError):
    """What answered is no timer service, or one that this client does not understand."""

    may_have_happened = True

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class FieldError(NamedTuple):
    """What is wrong with one field of a request; of the request as a whole, if `field` is empty."""

    field: str
    message: str


class RefusedError(TimerTrioError):
    """The service says no: `status`, `code`, `message` and `data` are those of its answer."""

    def __init__(
        self, status: int, code: int, message: str, data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.data: Mapping[str, Any] = data or {}

    @property
    def id(self) -> str | None:
        """Whose id the answer carries: what is there already, or what may have been created."""
        found = self.data.get("id")
        return found if isinstance(found, str) else None


class InvalidRequestError(RefusedError):
    """It was asked for what is not allowed; `fields` lists what is wrong."""

    @property
    def fields(self) -> tuple[FieldError, ...]:
        return tuple(_field_errors(self.data))


class NotFoundError(RefusedError):
    """Nothing has this id, key or name in the project."""


class UnauthorizedError(RefusedError):
    """The key is missing, wrong, expired or revoked."""


class ForbiddenError(RefusedError):
    """The key lacks the scope."""


class ConflictError(RefusedError):
    """Something else is there already; if that is one timer or schedule, `id` is its."""


class RateLimitedError(RefusedError):
    """More requests came with this key, or from this address, than are served."""


class QuotaUsedUpError(RefusedError):
    """The project may not have more live timers than it has."""


class UnavailableError(RefusedError):
    """The service cannot do it at the moment: its database is away, or it is busy.

    Of a create `id` or `ids` may say what was perhaps created.
    """

    may_have_happened = True

    @property
    def ids(self) -> tuple[str, ...]:
        found = self.data.get("ids")
        return tuple(map(str, found)) if isinstance(found, list) else ()


class InternalError(RefusedError):
    """A fault of the service: its log says more."""

    may_have_happened = True


class IncompleteError(TimerTrioError):
    """An import or a bulk action that ended before its end; `progress` is how far it came."""

    may_have_happened = True

    def __init__(self, words: str, progress: Any) -> None:
        super().__init__(words)
        self.progress = progress


class VerificationError(TimerTrioError):
    """A callback that none of the secrets has signed, or that is too old."""


_KINDS: Final[Mapping[int, type[RefusedError]]] = {
    2: InvalidRequestError,
    3: NotFoundError,
    4: UnauthorizedError,
    5: ConflictError,
    6: QuotaUsedUpError,
    7: ForbiddenError,
}
"""By the code of the envelope; where one code has several statuses, these say which it is."""
_KINDS_BY_STATUS: Final[Mapping[int, type[RefusedError]]] = {
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitedError,
    HTTPStatus.SERVICE_UNAVAILABLE: UnavailableError,
    HTTPStatus.INTERNAL_SERVER_ERROR: InternalError,
}


def data_of(answer: httpx.Response) -> object:
    """Return what a success carries.

    Raises:
        RefusedError: the service says no.
        UnexpectedAnswerError: what answered is no timer service.
    """
    match json_in(answer.content):
        case {"code": 0, "data": data} if answer.is_success:
            return data
        case {"code": int() as code, "message": str() as message, "data": dict() | None as data}:
            raise _refused(answer, code, message, data)
        case _:
            raise _unexpected(answer)


def json_in(text: str | bytes) -> object:
    """Read JSON; None: it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def words_of(error: Exception) -> str:
    return str(error) or type(error).__name__


def _refused(
    answer: httpx.Response, code: int, message: str, data: Mapping[str, Any] | None
) -> RefusedError:
    status = answer.status_code
    kind = _KINDS_BY_STATUS.get(status) or _KINDS.get(code, RefusedError)
    error = kind(status, code, message, data)
    error.retry_after_s = _seconds_in(answer.headers)
    return error


def _unexpected(answer: httpx.Response) -> UnexpectedAnswerError:
    words = f"{answer.url} answered {answer.status_code}, and not as a timer service does: "
    if answer.has_redirect_location:
        words += f"it leads to {answer.headers['Location']}"
    else:
        words += repr(answer.text[:_MAX_SHOWN])
    error = UnexpectedAnswerError(answer.status_code, words)
    error.retry_after_s = _seconds_in(answer.headers)
    return error


def _seconds_in(headers: Mapping[str, str]) -> float | None:
    # A date, the other thing that it may be, is nothing that a timer service sends.
    given = headers.get("Retry-After", "")
    return float(given) if given.isascii() and given.isdigit() else None


def _field_errors(data: Mapping[str, Any]) -> Iterator[FieldError]:
    errors = data.get("errors")
    for each in errors if isinstance(errors, list) else ():
        match each:
            case {"field": str() as field, "message": str() as message}:
                yield FieldError(field, message)
            case _:
                pass
