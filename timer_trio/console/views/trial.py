"""A timer to try the service with, and a receiver that shows what arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from quart import Response, request

from timer_trio.api.body.media import raw_body
from timer_trio.api.errors import BodyTooLargeError, InvalidRequestError
from timer_trio.api.route import Route
from timer_trio.console.desk import Desk, is_by_tls
from timer_trio.console.forms import body_of, checked_json, number, written
from timer_trio.console.receiver import (
    Answers,
    Arrived,
    address_of,
    answers_of,
    read_back,
    status_of,
    told_of,
)
from timer_trio.console.rendering import ROOT, see_other
from timer_trio.console.visit import Problems, RefusedError, Visit, problems_of
from timer_trio.domain.project import Scope

PATH: Final = f"{ROOT}/try"
RECEIVER: Final = f"{ROOT}/receiver"
_ONE: Final = f"{PATH}/{{timer_id}}"
_DEFAULTS: Final[Mapping[str, str]] = {
    "delay": "5",
    "callback_payload": '{"hello": "world"}',
    "answers": Answers.OK,
    "callback_url": "",
}
_RETRY: Final = '{"delays": [2], "max_attempts": 3}'
_WORDS: Final[Mapping[Answers, str]] = {
    Answers.OK: "200 each time",
    Answers.TWICE: "503 twice, then 200: it is tried again",
    Answers.NEVER: "503 each time: it fails after three attempts",
}


def routes(desk: Desk) -> Sequence[Route]:
    trial = _Trial(desk)
    return (
        desk.page(PATH, trial.show),
        desk.action(PATH, trial.create),
        *desk.live_page(_ONE, "trial.html", load),
        desk.open("POST", f"{RECEIVER}/{{address}}", trial.receive),
    )


class _Trial:
    def __init__(self, desk: Desk) -> None:
        self._clock = desk.context.clock
        self._sealer = desk.sealer

    async def show(self, visit: Visit) -> Response:
        visit.require(Scope.WRITE)
        return _form_page(visit, _DEFAULTS)

    async def create(self, visit: Visit) -> Response:
        fields = {name: visit.form.text(name) for name in _DEFAULTS}
        try:
            made = await visit.do("POST", "/timers", self._body(fields))
        except (RefusedError, InvalidRequestError) as error:
            if isinstance(error, RefusedError) and error.status == 403:
                raise
            return _form_page(visit, fields, *problems_of(error))
        return see_other(f"{PATH}/{made['id']}")

    def _body(self, fields: Mapping[str, str]) -> bytes:
        answers = fields["answers"]
        known = Answers(answers) if answers in {*Answers} else Answers.OK
        url = fields["callback_url"] or f"{_own_url()}{RECEIVER}/{self._address(known)}"
        return body_of(
            {
                "delay": number(fields["delay"], "delay"),
                "callback_url": written(url),
                "callback_payload": checked_json(
                    fields["callback_payload"] or "null", "callback_payload"
                ),
                "retry": _RETRY,
                "store_response": '"all"',
            }
        )

    def _address(self, answers: Answers) -> str:
        return address_of(answers, self._clock.now(), self._sealer)

    async def receive(self, address: str) -> Response:
        """Answer with what has arrived, if the service has given out this address."""
        answers = answers_of(address, self._clock.now(), self._sealer)
        if answers is None:
            return Response(b"", 404)
        try:
            body = await raw_body()
        except BodyTooLargeError:
            return Response(b"", 413)
        arrived = Arrived(request.method, [*request.headers.items()], body)
        status = status_of(answers, dict(request.headers))
        return Response(told_of(arrived), status, content_type="application/json")


async def load(visit: Visit, timer_id: str) -> Mapping[str, Any]:
    timer = await visit.get(f"/timers/{timer_id}")
    kept = (await visit.get(f"/timers/{timer_id}/attempts"))["attempts"]
    return {
        "timer": timer,
        "live": f"{PATH}/{timer['id']}/live",
        "arrived": [(attempt, read_back(attempt["response"])) for attempt in kept],
    }


def _form_page(
    visit: Visit, fields: Mapping[str, str], status: int = 200, problems: Problems = ()
) -> Response:
    return visit.page(
        "trial_form.html",
        status,
        fields=fields,
        answers=[*_WORDS.items()],
        own_url=f"{_own_url()}{RECEIVER}/…",
        problems=problems,
    )


def _own_url() -> str:
    """Return where the service is, as the browser knows it."""
    scheme = "https" if is_by_tls(request) else "http"
    return f"{scheme}://{request.host}{request.root_path}"
