"""A retry policy, and which answers are kept, as consumers write them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, with_config
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails
from typing_extensions import TypedDict

from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.retry import RetryPolicy

MAX_ATTEMPTS: Final = 50
MIN_DELAY_S: Final = 0.1
MAX_DELAY_S: Final = 604_800.0
MAX_INITIAL_DELAY_S: Final = 86_400.0
MAX_FACTOR: Final = 10.0
MIN_GIVE_UP_AFTER_S: Final = 1.0
MAX_GIVE_UP_AFTER_S: Final = 10 * 365.25 * 86_400
"""As far as a timer can lie ahead; null says more than any greater number."""

_DEFAULT: Final = RetryPolicy()
_GROWING: Final = ("initial_delay_seconds", "factor", "max_delay_seconds")
"""What `delays` takes the place of."""


def _number(least: float, most: float, default: float | None, description: str) -> Any:
    return Field(
        ge=least,
        le=most,
        allow_inf_nan=False,
        description=description,
        json_schema_extra={"default": default},
    )


def _growing(least: float, most: float, default: float, description: str) -> Any:
    # Its default in words: generated clients would send it beside `delays`.
    words = f"{description} Left out: {default:g}, unless there are `delays`."
    return Field(ge=least, le=most, allow_inf_nan=False, description=words)


MaxAttempts = Annotated[
    int, _number(1, MAX_ATTEMPTS, _DEFAULT.max_attempts, "The first one counted.")
]
Delays = Annotated[
    list[Annotated[float, Field(ge=MIN_DELAY_S, le=MAX_DELAY_S, allow_inf_nan=False)]] | None,
    Field(
        min_length=1,
        max_length=MAX_ATTEMPTS,
        description="Seconds before the second attempt, the third and so on; the last one repeats. "
        f"Instead of {', '.join(_GROWING)}. null: as if left out.",
        examples=[[10, 60, 600]],
    ),
]
InitialDelaySeconds = Annotated[
    float,
    _growing(
        MIN_DELAY_S,
        MAX_INITIAL_DELAY_S,
        _DEFAULT.initial_delay_s,
        "Delay before the second attempt.",
    ),
]
Factor = Annotated[
    float,
    _growing(1, MAX_FACTOR, _DEFAULT.factor, "By what each delay is multiplied for the next."),
]
MaxDelaySeconds = Annotated[
    float,
    _growing(
        MIN_DELAY_S,
        MAX_DELAY_S,
        _DEFAULT.max_delay_s,
        "No delay grows beyond it, and Retry-After counts up to it; jitter is added thereafter.",
    ),
]
Jitter = Annotated[
    float,
    _number(
        0,
        1,
        _DEFAULT.jitter,
        "Each delay is multiplied by a factor drawn evenly from 1 - jitter to 1 + jitter, so that "
        "callbacks which failed together do not come back together.",
    ),
]
GiveUpAfterSeconds = Annotated[
    float | None,
    _number(
        MIN_GIVE_UP_AFTER_S,
        MAX_GIVE_UP_AFTER_S,
        _DEFAULT.give_up_after_s,
        "No attempt begins later than this after the first one was due. null: no such limit.",
    ),
]


def _check_delays(wanted: RetryRequest) -> RetryRequest:
    beside = [name for name in _GROWING if name in wanted]
    if wanted.get("delays") is None or not beside:
        return wanted
    words = f"cannot stand beside {', '.join(beside)}: send one or the other"
    # Raised as pydantic's own, so that the member is named and not only the object.
    error = InitErrorDetails(
        type="value_error",
        loc=("delays",),
        input=wanted["delays"],
        ctx={"error": ValueError(words)},
    )
    raise ValidationError.from_exception_data("retry", [error])


_EITHER: Final[JsonDict] = {
    "not": {
        "required": ["delays"],
        "properties": {"delays": {"type": "array"}},
        "anyOf": [{"required": [name]} for name in _GROWING],
    }
}


@with_config(ConfigDict(strict=True, extra="forbid", json_schema_extra=_EITHER))
class RetryRequest(TypedDict, total=False):
    max_attempts: MaxAttempts
    delays: Delays
    initial_delay_seconds: InitialDelaySeconds
    factor: Factor
    max_delay_seconds: MaxDelaySeconds
    jitter: Jitter
    give_up_after_seconds: GiveUpAfterSeconds


RETRY_FIELDS: Final = tuple(RetryRequest.__annotations__)
MAX_RETRY_VALUES: Final = len(RETRY_FIELDS) + MAX_ATTEMPTS
"""Members and elements of the greatest policy."""

RetryField = Annotated[
    Annotated[RetryRequest, AfterValidator(_check_delays)] | None,
    Field(
        description="How a failed callback is tried again: unless it was the last attempt, the "
        "answer was 410 Gone, or it carried X-Timer-Retry: no. Retry-After of a failed answer is a "
        "floor for the delay, up to max_delay_seconds; with delays up to the greatest of them, and "
        "at least an hour. An empty object: all the defaults. null: one attempt.",
        examples=[{"max_attempts": 8, "initial_delay_seconds": 5}, {"delays": [10, 60, 600]}],
    ),
]
StoreResponseField = Annotated[
    StoreResponse,
    Field(
        strict=False,
        description="Of which attempts the receiver's answers are kept: status, headers and the "
        "beginning of the body.",
    ),
]


def policy_of(wanted: RetryRequest | None) -> RetryPolicy | None:
    """Return what a consumer asks for, the defaults filled in; None: a single attempt."""
    if wanted is None:
        return None
    delays = wanted.get("delays")
    return RetryPolicy(
        max_attempts=wanted.get("max_attempts", _DEFAULT.max_attempts),
        delays=None if delays is None else tuple(delays),
        initial_delay_s=wanted.get("initial_delay_seconds", _DEFAULT.initial_delay_s),
        factor=wanted.get("factor", _DEFAULT.factor),
        max_delay_s=wanted.get("max_delay_seconds", _DEFAULT.max_delay_s),
        jitter=wanted.get("jitter", _DEFAULT.jitter),
        give_up_after_s=wanted.get("give_up_after_seconds", _DEFAULT.give_up_after_s),
    )
