"""From a request to the view that answers it, and from what went wrong to a page."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import quote

import structlog
from quart import Request, Response, request
from werkzeug.exceptions import HTTPException

from timer_trio.api.context import ApiContext
from timer_trio.api.errors import (
    ForbiddenError,
    InvalidRequestError,
    UnauthorizedError,
    refusal_of,
)
from timer_trio.api.inside import Asker, Inside
from timer_trio.api.parameters import parameters_in
from timer_trio.api.principal import Principal, set_principal
from timer_trio.api.route import Route
from timer_trio.console.forms import read_form
from timer_trio.console.live import Live
from timer_trio.console.rendering import ROOT, answer, places, render, render_part, see_other
from timer_trio.console.session import IDLE, NONCE_BYTES, Sealer, Session
from timer_trio.console.visit import RefusedError, Visit
from timer_trio.domain.errors import TimerTrioError

View = Callable[..., Awaitable[Response]]
"""Answers a Visit, given the parameters of its path."""
Load = Callable[..., Awaitable[Mapping[str, Any]]]
"""Returns what a template shows of a Visit, given the parameters of its path."""

COOKIE: Final = "timer_trio_console"
CSRF: Final = "csrf"
LIVE_PART: Final = "live"
"""The block of a template that is sent again when it changes."""


log = structlog.get_logger()


class NotSignedInError(TimerTrioError):
    """Nobody knows who this is, or his session has ended."""


class Desk:
    """Makes the routes of the console's pages."""

    def __init__(self, context: ApiContext, inside: Inside) -> None:
        self.context = context
        self.inside = inside
        self.sealer = Sealer(context.api_key)
        self._live = Live(context.stopping)

    def page(self, path: str, view: View) -> Route:
        """Make a page that shows something and changes nothing."""
        return self._route("GET", path, view)

    def action(self, path: str, view: View) -> Route:
        """Make what a form is sent to."""
        return self._route("POST", path, view)

    def live_page(self, path: str, template: str, load: Load) -> tuple[Route, Route]:
        """Make a page of which the part `live` is sent again when it changes."""

        async def show(visit: Visit, **path_values: str) -> Response:
            values = await load(visit, **path_values)
            return visit.page(template, values.get("status", 200), **values)

        async def follow(visit: Visit, **path_values: str) -> Response:
            async def look() -> str:
                await self._check_again(visit)
                values = await load(visit, **path_values)
                if (status := values.get("status", 200)) != 200:
                    raise RefusedError(status, "there is nothing to show instead")
                return render_part(template, LIVE_PART, visit.shown(values))

            return self._live.answer(look, visit.by)

        return self.page(path, show), self._route("GET", f"{path}/live", follow, is_live=True)

    def open(self, method: str, path: str, handler: Callable[..., Awaitable[Response]]) -> Route:
        """Make what is answered to anybody."""
        return Route(method=method, path=path, handler=handler, is_open=True)

    def signed_in(self, key: Principal) -> Session:
        """Begin a session of a key."""
        now = self.context.clock.now()
        return Session(
            key_id=key.key_id,
            project=None,
            began_at=now,
            used_at=now,
            nonce=secrets.token_hex(NONCE_BYTES),
        )

    def keep(self, session: Session, response: Response) -> None:
        """Have a browser bring a session along with what it asks for next."""
        set_cookie(response, COOKIE, self.sealer.seal(session), self.context.root_path + ROOT)

    def _route(self, method: str, path: str, view: View, *, is_live: bool = False) -> Route:
        # The guard of keys lets it pass: who asks is said by the cookie, and looked up here.
        handler = self._answering(view, is_live=is_live)
        return Route(method=method, path=path, handler=handler, is_open=True)

    def _answering(self, view: View, *, is_live: bool) -> Callable[..., Awaitable[Response]]:
        async def handler(**path_values: str) -> Response:
            asked: Request = cast("Any", request)._get_current_object()  # noqa: SLF001 - werkzeug's API
            try:
                visit = await self._visit(asked)
            except NotSignedInError:
                return _to_sign_in(asked, is_live=is_live)
            except (TimerTrioError, HTTPException) as error:
                return error_page(error, None)
            try:
                if asked.method == "POST":
                    await self._read_form(visit)
                response = await view(visit, **path_values)
            except (TimerTrioError, HTTPException) as error:
                response = error_page(error, visit)
            except Exception as error:
                log.exception("request_failed", method=asked.method, path=asked.path)
                response = error_page(error, visit)
            if not is_live:  # what a page does by itself is no use of it
                self._renew(visit, response)
            return response

        return handler

    async def _visit(self, asked: Request) -> Visit:
        session = self.sealer.open(asked.cookies.get(COOKIE, ""))
        if session is None or session.has_ended(self.context.clock.now()):
            raise NotSignedInError
        by = await self._returning(session)
        set_principal(by)
        return Visit(
            context=self.context,
            inside=self.inside,
            session=session,
            asker=Asker(by, asked.scope.get("client")),
            csrf=self.sealer.token(CSRF, session.nonce),
            path=asked.path,
            query=parameters_in(asked.query_string),
        )

    async def _returning(self, session: Session) -> Principal:
        try:
            return await self.inside.returning(session.key_id, session.project)
        except UnauthorizedError:
            raise NotSignedInError from None
        except InvalidRequestError:  # the project is gone: whoever has API_KEY chooses another one
            return await self.inside.returning(session.key_id, None)

    async def _check_again(self, visit: Visit) -> None:
        """Look again who it is that a page is sent to for minutes.

        Raises:
            NotSignedInError: nobody any more.
        """
        if visit.session.has_ended(self.context.clock.now()):
            raise NotSignedInError
        visit.asker = visit.asker._replace(by=await self._returning(visit.session))

    async def _read_form(self, visit: Visit) -> None:
        visit.form = await read_form()
        if not self.sealer.bears(CSRF, visit.session.nonce, visit.form.text(CSRF)):
            raise ForbiddenError("this form is not of your session: load its page again")

    def _renew(self, visit: Visit, response: Response) -> None:
        now = self.context.clock.now()
        if visit.session_changed or visit.session.is_to_be_renewed(now):
            self.keep(visit.session.used(now), response)


def set_cookie(response: Response, name: str, value: str, path: str) -> None:
    """Give a browser a cookie that it shows to nobody else."""
    response.set_cookie(
        name,
        value,
        max_age=int(IDLE.total_seconds()),
        path=path,
        httponly=True,
        samesite="Strict",
        secure=is_by_tls(request),
    )


def is_by_tls(asked: Request) -> bool:
    """Whether a browser has asked by TLS, as far as is known.

    What a proxy says, or anybody in its place, keeps a cookie from going out in the clear at most.
    """
    said = asked.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return asked.scheme == "https" or said == "https"


def error_page(error: Exception, visit: Visit | None) -> Response:
    """Return the page of what went wrong."""
    if isinstance(error, RefusedError):
        status, message, headers = error.status, str(error), {}
    else:
        refusal = refusal_of(error)
        status, message, headers = int(refusal.status), refusal.message, {**refusal.headers}
    values: dict[str, Any] = {"error_status": status, "message": message}
    if visit is None:
        response = _outside(values, status)
    else:
        response = visit.page("error.html", status, **values)
    headers.pop("WWW-Authenticate", None)  # a browser would ask for a password
    response.headers.update(headers)
    return response


def _outside(values: Mapping[str, Any], status: int) -> Response:
    """Return a page for somebody of whom nobody knows who he is."""
    html = render("outside_error.html", {**values, **places(request.root_path)})
    return answer(html, status)


def _to_sign_in(asked: Request, *, is_live: bool) -> Response:
    if asked.method != "GET" or is_live:
        words = {"error_status": 401, "message": "your session has ended: sign in again"}
        return _outside(words, 401)
    wanted = asked.path
    if asked.query_string:
        wanted += "?" + asked.query_string.decode("latin-1")
    return see_other(f"{ROOT}/login?next={quote(wanted, safe='')}")
