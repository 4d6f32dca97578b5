"""What the request under way does, told to the audit."""

from __future__ import annotations

from typing import Any, cast

from quart import Request, request

from timer_trio.access.audit_log import AuditLog
from timer_trio.api.principal import Principal, address_of
from timer_trio.domain.audit import Act, Action, Actor, details
from timer_trio.domain.project import ProjectId


class RequestAudit:
    """Tells on behalf of the request under way, also when it is no longer.

    What is noted has been done, and is answered with a 2xx.
    """

    def __init__(self, log: AuditLog) -> None:
        asked: Request = cast("Any", request)._get_current_object()  # noqa: SLF001 - werkzeug's API
        asks: Principal = cast("Any", asked).principal
        self._log = log
        self._actor = Actor(asks.project, asks.key_id, address_of(asked))

    def note(
        self,
        action: Action,
        target: object = None,
        /,
        *,
        count: int = 1,
        project: ProjectId | None = None,
        **told: object,
    ) -> None:
        """Note what has been done to a target, or `count` times.

        It is of the project of the request, or of another one that it has changed. What is `told`
        besides is JSON, and no value of a header, a payload or a secret.
        """
        actor = self._actor if project is None else self._actor._replace(project=project)
        name = None if target is None else str(target)
        self._log.note(actor, Act(action, name, count, details(told) if told else None))
