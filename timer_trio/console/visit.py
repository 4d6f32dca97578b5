"""One request of somebody who has signed in: what he may do, and what the API answers him."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from quart import Response

from timer_trio.api.context import ApiContext
from timer_trio.api.errors import FieldError, ForbiddenError, InvalidRequestError, refusal_of
from timer_trio.api.inside import Asker, Inside, Question
from timer_trio.api.principal import Principal
from timer_trio.console.forms import Form
from timer_trio.console.rendering import answer, places, render
from timer_trio.console.session import Session
from timer_trio.domain.audit import OF_SERVICE
from timer_trio.domain.errors import TimerTrioError
from timer_trio.domain.project import Scope

Pairs = Iterable[tuple[str, str]]
Data = dict[str, Any]
Problems = Sequence[FieldError]
MOST_LISTED: Final = "200"
"""Of what a page shows without pages of its own: as many as the API lists at once."""


class RefusedError(TimerTrioError):
    """The API refuses what a page asked of it."""

    def __init__(self, status: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.data = data or {}


@dataclass(slots=True, kw_only=True)
class Visit:
    """Somebody's request; `shown` is what each of its pages has."""

    context: ApiContext
    inside: Inside
    session: Session
    asker: Asker
    csrf: str
    path: str
    query: Mapping[str, str]
    form: Form = field(default_factory=Form)
    session_changed: bool = False
    """Whether the cookie is to be sent anew, whatever its age."""

    @property
    def by(self) -> Principal:
        return self.asker.by

    def may(self, scope: Scope) -> bool:
        return scope in self.by.scopes

    def require(self, scope: Scope) -> None:
        """Show a form to those alone who may send it.

        Raises:
            ForbiddenError: the key is not for it.
        """
        if not self.may(scope):
            raise ForbiddenError(f"the API key lacks the scope {scope.value}")

    async def ask(self, method: str, path: str, query: Pairs = (), body: bytes = b"") -> Response:
        """Return what the API answers, be it a refusal."""
        question = Question(method, path, urlencode([*query]).encode(), body)
        return await self.inside.ask(self.asker, question)

    async def get(self, path: str, query: Pairs = ()) -> Data:
        """Return the data that the API answers.

        Raises:
            RefusedError: it refuses.
        """
        return await data_of(await self.ask("GET", path, query))

    async def do(self, method: str, path: str, body: bytes = b"", query: Pairs = ()) -> Data:
        """Have the API do something, and return the data that it answers.

        Raises:
            RefusedError: it refuses.
        """
        return await data_of(await self.ask(method, path, query, body))

    def shown(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a template has: these values, and what each page needs."""
        by = self.by
        return {
            "csrf": self.csrf,
            **places(self.context.root_path),
            "here": self.context.root_path + self.path,
            "key": OF_SERVICE if by.key_id is None else by.key_id,
            "project": by.project_name,
            "may_write": self.may(Scope.WRITE),
            "is_admin": self.may(Scope.ADMIN),
            "is_service": by.is_of_service,
            "now": self.context.clock.now(),
            "problems": (),
            **values,
        }

    def page(self, template: str, status: int = 200, /, **values: Any) -> Response:
        return answer(render(template, self.shown(values)), status)


async def data_of(response: Response) -> Data:
    """Return the data of an answer of the API.

    Raises:
        RefusedError: it is a refusal.
    """
    envelope = json.loads(await response.get_data(as_text=False))
    if envelope["code"]:
        raise RefusedError(response.status_code, envelope["message"], envelope["data"])
    data: Data = envelope["data"]
    return data


def problems_of(error: RefusedError | InvalidRequestError) -> tuple[int, Problems]:
    """Return the status of a refusal, and what is wrong, for the page with the form."""
    if isinstance(error, InvalidRequestError):
        return int(refusal_of(error).status), error.errors
    listed = error.data.get("errors") or [{"field": "", "message": str(error)}]
    return error.status, [FieldError(each["field"], each["message"]) for each in listed]
