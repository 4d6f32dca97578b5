"""Which headers the request under way may not see."""

from __future__ import annotations

from typing import Final, cast

from quart import current_app

from timer_trio.api.principal import principal
from timer_trio.domain.masking import NOTHING, Sensitive
from timer_trio.domain.project import Scope

SENSITIVE_HEADERS: Final = "SENSITIVE_HEADERS"
"""Under which the app's configuration has them."""


def masked_headers() -> Sensitive:
    """Return the headers whose values are masked in an answer to this request."""
    return NOTHING if Scope.ADMIN in principal().scopes else hidden_headers()


def hidden_headers() -> Sensitive:
    """Return those that are masked in what others may read later."""
    return cast("Sensitive", current_app.config[SENSITIVE_HEADERS])
