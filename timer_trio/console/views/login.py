"""Signing in with an API key, and out; and the project that API_KEY acts in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from quart import Response, request

from timer_trio.api.errors import (
    FieldError,
    InvalidRequestError,
    TooManyRequestsError,
    UnauthorizedError,
    refusal_of,
)
from timer_trio.api.parameters import parameters_in
from timer_trio.api.principal import Principal, set_principal
from timer_trio.api.route import Route
from timer_trio.console.desk import COOKIE, CSRF, Desk, error_page, set_cookie
from timer_trio.console.forms import Form, read_form
from timer_trio.console.rendering import ROOT, answer, places, render, see_other
from timer_trio.console.session import NONCE_BYTES
from timer_trio.console.visit import Visit
from timer_trio.domain.errors import TimerTrioError
from timer_trio.domain.project import Scope

BEFORE: Final = "timer_trio_before"
"""The cookie of whoever is about to sign in: no other site can send him a form with its token."""
_PATH: Final = f"{ROOT}/login"
_MOST_KEY: Final = 1_000


def routes(desk: Desk) -> Sequence[Route]:
    login = _Login(desk)
    return (
        desk.open("GET", _PATH, login.show),
        desk.open("POST", _PATH, login.sign_in),
        desk.action(f"{ROOT}/logout", sign_out),
        desk.action(f"{ROOT}/project", choose_project),
    )


class _Login:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._sealer = desk.sealer
        self._prefix = desk.context.root_path

    async def show(self) -> Response:
        try:
            wanted = parameters_in(request.query_string).get("next", "")
        except InvalidRequestError as error:
            return error_page(error, None)
        return self._form(_place(wanted))

    async def sign_in(self) -> Response:
        try:
            form = await read_form()
            wanted = _place(form.text("next"))
            if not self._is_ours(form):
                return self._form(wanted, HTTPStatus.FORBIDDEN, "This page was old: try again.")
            return await self._sign_in(form, wanted)
        except TimerTrioError as error:
            return error_page(error, None)

    async def _sign_in(self, form: Form, wanted: str) -> Response:
        given = form.text("key")
        try:
            by = await self._desk.inside.sign_in(request, given[:_MOST_KEY])
        except (UnauthorizedError, TooManyRequestsError) as error:
            refusal = refusal_of(error)
            return self._form(wanted, refusal.status, f"{error}".capitalize())
        if Scope.READ not in by.scopes:
            words = "This key may not read: sign in with one that has the scope read."
            return self._form(wanted, HTTPStatus.FORBIDDEN, words)
        return self._begin(by, wanted)

    def _begin(self, by: Principal, wanted: str) -> Response:
        set_principal(by)
        response = see_other(wanted)
        self._desk.keep(self._desk.signed_in(by), response)
        response.delete_cookie(BEFORE, path=self._prefix + _PATH)
        return response

    def _form(self, wanted: str, status: int = 200, problem: str = "") -> Response:
        nonce = request.cookies.get(BEFORE, "") or secrets.token_hex(NONCE_BYTES)
        values = {"csrf": self._sealer.token("login", nonce), "next": wanted, "problem": problem}
        response = answer(render("login.html", {**values, **places(self._prefix)}), status)
        set_cookie(response, BEFORE, nonce, self._prefix + _PATH)
        return response

    def _is_ours(self, form: Form) -> bool:
        nonce = request.cookies.get(BEFORE, "")
        return bool(nonce) and self._sealer.bears("login", nonce, form.text(CSRF))


def _place(wanted: str) -> str:
    """Return where to go after the login: a page of the console, whatever a link says."""
    is_ours = wanted == ROOT or wanted.startswith((f"{ROOT}/", f"{ROOT}?"))
    is_plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    return wanted if is_ours and is_plain else ROOT


async def sign_out(visit: Visit) -> Response:
    response = see_other(_PATH)
    response.delete_cookie(COOKIE, path=visit.context.root_path + ROOT)
    return response


async def choose_project(visit: Visit) -> Response:
    """Have the key of the whole service act in another project from now on."""
    if not visit.by.is_of_service:
        raise InvalidRequestError(FieldError("project", "this key is of one project"))
    name = visit.form.text("project")
    try:
        await visit.inside.returning(None, name)
    except InvalidRequestError:
        raise InvalidRequestError(FieldError("project", "no project has this name")) from None
    visit.session = replace(visit.session, project=name)
    visit.session_changed = True
    return see_other(ROOT)
