"""One question of a person to the API, and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx

from timer_trio.cli.errors import NotAnsweredError, RefusedError
from timer_trio.cli.service import (
    NO_TIMER_SERVICE,
    NOT_SENT,
    REQUEST_ERRORS,
    Service,
    is_of_a_proxy,
    named_service,
    refusal_in,
)

ANSWER_TIMEOUT_S: Final = 20.0
"""A service that cannot reach its database says so before."""
MAX_PAGE: Final = 200
"""What the service lists at once."""
_NOT_FOUND: Final = frozenset(
    {
        "no timer has this id",
        "no schedule has this id",
        "no schedule has this name",
        "no project has this name",
        "no flow has this key",
        "no API key has this id",
        "no valid signing secret has this id",
    }
)
"""Words of a service that was reached, so that --url is right."""
_UNKNOWN: Final = "; it may have been done all the same: look before you repeat it"

Json = dict[str, Any]


class Api:
    """The routes of a running service."""

    def __init__(self, service: Service, client: httpx.Client) -> None:
        self._service = service
        self._client = client

    def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: str | None = None,
    ) -> Json:
        """Return the data of a success.

        Raises:
            RefusedError: the service says no.
            NotAnsweredError: no timer service has answered.
        """
        headers = {} if body is None else {"Content-Type": "application/json"}
        content = None if body is None else body.encode()
        url = self._service.at(path)
        try:
            answer = self._client.request(
                method, url, params=params, content=content, headers=headers
            )
        except REQUEST_ERRORS as error:
            is_harmless = method == "GET" or isinstance(error, NOT_SENT)
            words = self._service.no_answer(error)
            raise NotAnsweredError(words if is_harmless else words + _UNKNOWN) from error
        if not answer.is_success:
            raise self._refusal(answer, method)
        return _data_in(answer)

    def _refusal(self, answer: httpx.Response, method: str) -> RefusedError | NotAnsweredError:
        words, refusal = self._service.refused(answer), refusal_in(answer.content)
        if refusal is not None:
            said = refusal["message"]
            return RefusedError(said if said in _NOT_FOUND else words + _id_in(answer))
        is_unknown = method != "GET" and is_of_a_proxy(answer)
        return NotAnsweredError(words + _UNKNOWN if is_unknown else words)


@contextmanager
def asking(url: str | None) -> Iterator[Api]:
    """Reach the service at this URL, or that of the settings.

    Raises:
        StartRefusedError: the settings are wrong, or nobody knows the key.
    """
    service = named_service(url)
    with service.client(ANSWER_TIMEOUT_S) as client:
        yield Api(service, client)


def listed(api: Api, things: str, wanted: Mapping[str, str], limit: int) -> Iterator[Json]:
    """Yield up to `limit` of the `things` that the path of that name lists, page by page.

    Raises:
        RefusedError: the service says no.
        NotAnsweredError: no timer service has answered.
    """
    left = limit
    cursor: dict[str, str] = {}
    while left > 0:
        asked = {**wanted, **cursor, "limit": str(min(left, MAX_PAGE))}
        answer = api.ask("GET", f"/{things}", asked)
        match answer.get(things), answer.get("next_cursor", ...):
            case [*page], str() | None as following if all(isinstance(each, dict) for each in page):
                yield from page
            case _:
                raise NotAnsweredError(f"what answered lists no {things}: {NO_TIMER_SERVICE}")
        left -= len(page)
        if not page or following is None:
            return
        cursor = {"cursor": following}


def all_of(api: Api, things: str) -> Sequence[Json]:
    """Return the `things`, such as "signing secrets", that the path of that name lists on one page.

    Raises:
        RefusedError: the service says no.
        NotAnsweredError: no timer service has answered.
    """
    data = api.ask("GET", f"/{things.replace(' ', '-')}")
    match data.get(things.replace(" ", "_")):
        case [*found] if all(isinstance(each, dict) for each in found):
            return found
        case _:
            raise NotAnsweredError(f"what answered lists no {things}: {NO_TIMER_SERVICE}")


def _data_in(answer: httpx.Response) -> Json:
    match _json_in(answer):
        case {"code": 0, "data": dict() as data}:
            return data
        case _:
            words = f"{answer.url} answered {answer.status_code}: {NO_TIMER_SERVICE}"
            raise NotAnsweredError(words)


def _id_in(answer: httpx.Response) -> str:
    """Name what nobody knows of whether it was created, or what has a name already."""
    match _json_in(answer):
        case {"data": {"id": str() as timer_id}}:
            return f": {timer_id}"
        case _:
            return ""


def _json_in(answer: httpx.Response) -> object:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
