"""On whose behalf a request is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from quart import Request, request

from timer_trio.domain.api_key import KeyId
from timer_trio.domain.project import (
    DEFAULT_NAME,
    DEFAULT_PROJECT,
    NO_SETTINGS,
    ProjectId,
    ProjectSettings,
    Scope,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: all that is read and changed for it is in its project.

    `scopes` include those that others of them include.
    """

    project: ProjectId
    scopes: frozenset[Scope]
    key_id: KeyId | None = None
    """None: the key of the whole service."""
    project_name: str = DEFAULT_NAME
    settings: ProjectSettings = NO_SETTINGS
    """Of the project, as of a few seconds ago."""

    @property
    def is_of_service(self) -> bool:
        """Whether it is whoever has the key of the whole service, whatever project he acts in."""
        return self.key_id is None


ON_BEHALF: Final = "timer_trio.on_behalf"
"""In the scope of a request that the service makes itself: the Principal that it is made for."""
SERVICE: Final = Principal(project=DEFAULT_PROJECT, scopes=frozenset(Scope))
"""Whoever has the key of the whole service."""


def set_principal(principal: Principal) -> None:
    """Say on whose behalf the request under way is served."""
    cast("Any", request).principal = principal


def own_project() -> ProjectId:
    """Tell in which project the request under way reads and writes."""
    return principal().project


def own_quota() -> int | None:
    """Tell how many live timers that project may have; None: they are not counted."""
    return principal().settings.max_live_timers


def address_of(asked: Request) -> str | None:
    """Return whence a request comes, as the connection has it: a header may say anything.

    None: by a socket that has no addresses.
    """
    return (asked.scope.get("client") or (None,))[0]


def principal() -> Principal:
    """Tell on whose behalf the request under way is served; an open route is for anybody."""
    return cast("Principal", cast("Any", request).principal)
