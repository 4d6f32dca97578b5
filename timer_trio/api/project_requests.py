"""What a consumer may ask of projects and keys: the members of a body, checked, to the domain."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, cast

from timer_trio.api.body.json_body import reading_object
from timer_trio.api.errors import FieldError, ForbiddenError, InvalidRequestError
from timer_trio.api.fields.project import (
    CHANGE_PROJECT,
    CREATE_KEY,
    CREATE_PROJECT,
    KEY_FIELDS,
    MAX_SETTINGS_VALUES,
    PROJECT_FIELDS,
    SETTINGS_FIELDS,
    BreakerRequest,
    RateLimitRequest,
)
from timer_trio.api.fields.retry import policy_of
from timer_trio.api.fields.rules import Rules
from timer_trio.api.principal import Principal
from timer_trio.api.requests import checked
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.project import DEFAULT_PROJECT, Scope, SettingsChange
from timer_trio.domain.rate_limit import RateLimit, usual_burst


class NewKey(NamedTuple):
    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None


def reading_project(raw: bytes) -> Generator[None, None, dict[str, object]]:
    """Parse what the readers below read, as `reading_members`."""
    known = (*PROJECT_FIELDS, *SETTINGS_FIELDS, *KEY_FIELDS)
    return reading_object(raw, verbatim="", known=known, most_values=MAX_SETTINGS_VALUES)


def read_project_name(members: Mapping[str, object], rules: Rules) -> str:
    """Read the name of the project that a POST asks for.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    called = "a project"
    return checked(CREATE_PROJECT, members, rules, [], called=called, known=PROJECT_FIELDS)["name"]


def read_settings_change(members: Mapping[str, object], rules: Rules) -> SettingsChange:
    """Read which settings of a project a PUT changes.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    called = "a project's settings"
    wanted = checked(CHANGE_PROJECT, members, rules, [], called=called, known=SETTINGS_FIELDS)
    change: dict[str, Any] = {**wanted}
    if not change:
        raise InvalidRequestError(FieldError("", "at least one setting to change is required"))
    if change.get("allowed_hosts") is not None:
        change["allowed_hosts"] = tuple(change["allowed_hosts"])
    if "default_retry" in change:
        change["default_retry"] = policy_of(change["default_retry"])
    if change.get("rate_limit") is not None:
        change["rate_limit"] = _limit_of(change["rate_limit"])
    if change.get("breaker") is not None:
        change["breaker"] = _breaker_of(change["breaker"])
    return cast("SettingsChange", change)


def _limit_of(wanted: RateLimitRequest) -> RateLimit:
    per_s = wanted["requests_per_second"]
    burst = wanted.get("burst", usual_burst(per_s))
    return RateLimit(requests_per_second=per_s, burst=burst)


def _breaker_of(wanted: BreakerRequest) -> BreakerPolicy:
    return BreakerPolicy(failures=wanted["failures"], open_s=wanted["open_seconds"])


def read_key(
    members: Mapping[str, object], now: datetime, rules: Rules, giver: Principal
) -> NewKey:
    """Read what key a POST that arrived at `now` asks for.

    Raises:
        InvalidRequestError: naming every field that is wrong.
        ForbiddenError: nobody gives more than he has.
    """
    wanted = checked(CREATE_KEY, members, rules, [], called="a key", known=KEY_FIELDS)
    scopes, expires_at = frozenset(wanted["scopes"]), wanted.get("expires_at")
    if expires_at is not None and expires_at <= now:
        raise InvalidRequestError(FieldError("expires_at", "must lie in the future"))
    if Scope.METRICS in scopes and giver.project != DEFAULT_PROJECT:
        words = "metrics tell of all projects: only keys of the project default can have them"
        raise InvalidRequestError(FieldError("scopes", words))
    if lacking := sorted(scopes - giver.scopes):
        raise ForbiddenError(f"the API key lacks the scope {lacking[0]}, so it cannot give it")
    return NewKey(wanted["name"], scopes, expires_at)
