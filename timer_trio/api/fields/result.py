"""Who is told how a timer has ended, as consumers write it."""

from __future__ import annotations

from typing import Annotated, Final, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from timer_trio.api.fields.callback import MAX_HEADERS, CallbackHeaders, CallbackUrl
from timer_trio.callback_url import read_url
from timer_trio.domain.timer import ResultTarget

RESULT_MEMBERS: Final = ("on_completed", "on_failed")


@with_config(ConfigDict(strict=True, extra="forbid"))
class ResultRequest(TypedDict):
    url: CallbackUrl
    headers: NotRequired[CallbackHeaders]


RESULT_FIELDS: Final = tuple(ResultRequest.__annotations__)
MAX_RESULT_VALUES: Final = len(RESULT_FIELDS) + MAX_HEADERS
"""What the longest one holds, the headers of a callback alone being fewer."""

_HOW: Final = (
    "by a POST of a JSON object: `type`, timer.completed or timer.failed; `timer`, as GET "
    "/timers/{timer_id} shows it to who is no administrator; `last_attempt`, as its attempts show "
    "it, null if it ended without one. It is a timer of its own with 5 attempts, and names this "
    "one in `parent_id`. null: nobody."
)
_EXAMPLES: Final = [{"url": "https://example.com/hooks/results"}]

OnCompletedField = Annotated[
    ResultRequest | None,
    Field(description=f"Who is told that the timer has completed, {_HOW}", examples=_EXAMPLES),
]
OnFailedField = Annotated[
    ResultRequest | None,
    Field(
        description=f"Who is told that the timer has failed for good, {_HOW}", examples=_EXAMPLES
    ),
]


def target_of(wanted: ResultRequest | None) -> ResultTarget | None:
    """Return whom a consumer names; None: nobody."""
    if wanted is None:
        return None
    return ResultTarget(url=read_url(wanted["url"]), headers=wanted.get("headers") or {})
