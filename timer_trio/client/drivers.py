"""The I/O of the clients, and nothing else: a driver for code that blocks, and one for `async`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final, TypeVar

import anyio
import httpx

from timer_trio.client.answers import Page
from timer_trio.client.call import Call, Run
from timer_trio.client.conversation import (
    Done,
    Outgoing,
    Reply,
    RunReader,
    Service,
    Step,
    advance,
    converse,
    following,
)
from timer_trio.client.errors import NoAnswerError, data_of, words_of

T = TypeVar("T")

# It waits while nothing else can be done.
_sleep: Final = time.sleep  # noqa: TID251 - no event loop is here


class SyncDriver:
    """Asks, and blocks until it knows."""

    def __init__(self, service: Service, http: httpx.Client) -> None:
        self._service = service
        self._http = http

    def ask(self, question: Call[T] | Run[T]) -> T:
        if isinstance(question, Run):
            return self._run(question)
        conversation = converse(question, self._service)
        step = advance(conversation, None)
        while not isinstance(step, Done):
            step = advance(conversation, self._do(step))
        return step.value

    def pages(self, call: Call[Page[T]]) -> Iterator[T]:
        asked: Call[Page[T]] | None = call
        while asked is not None:
            page = self.ask(asked)
            yield from page.items
            asked = following(asked, page)

    def _run(self, run: Run[T]) -> T:
        reader = RunReader(run)
        request = _run_request(self._http, self._service, run, run.content)
        try:
            answer = self._http.send(request, stream=True, follow_redirects=False)
        except httpx.RequestError as error:
            raise NoAnswerError(self._service.url, error) from error
        try:
            if answer.status_code != HTTPStatus.OK:
                answer.read()
                data_of(answer)
            for line in answer.iter_lines():
                reader.feed(line)
        except httpx.RequestError as error:
            raise reader.broken(_broke(error)) from error
        finally:
            answer.close()
        return reader.result()

    def _do(self, step: Step) -> Reply:
        if not isinstance(step, Outgoing):
            _sleep(step)
            return None
        try:
            return self._http.send(_request(self._http, step), follow_redirects=False)
        except httpx.RequestError as error:
            return error


class AsyncDriver:
    """Asks, and lets others work meanwhile, under trio or asyncio."""

    def __init__(self, service: Service, http: httpx.AsyncClient) -> None:
        self._service = service
        self._http = http

    async def ask(self, question: Call[T] | Run[T]) -> T:
        if isinstance(question, Run):
            return await self._run(question)
        conversation = converse(question, self._service)
        step = advance(conversation, None)
        while not isinstance(step, Done):
            step = advance(conversation, await self._do(step))
        return step.value

    async def pages(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        asked: Call[Page[T]] | None = call
        while asked is not None:
            page = await self.ask(asked)
            for item in page.items:
                yield item
            asked = following(asked, page)

    async def _run(self, run: Run[T]) -> T:
        reader = RunReader(run)
        content = run.content if isinstance(run.content, bytes) else _slowly(run.content)
        request = _run_request(self._http, self._service, run, content)
        try:
            answer = await self._http.send(request, stream=True, follow_redirects=False)
        except httpx.RequestError as error:
            raise NoAnswerError(self._service.url, error) from error
        try:
            if answer.status_code != HTTPStatus.OK:
                await answer.aread()
                data_of(answer)
            async for line in answer.aiter_lines():
                reader.feed(line)
        except httpx.RequestError as error:
            raise reader.broken(_broke(error)) from error
        finally:
            await answer.aclose()
        return reader.result()

    async def _do(self, step: Step) -> Reply:
        if not isinstance(step, Outgoing):
            await anyio.sleep(step)
            return None
        try:
            return await self._http.send(_request(self._http, step), follow_redirects=False)
        except httpx.RequestError as error:
            return error


def _request(http: httpx.Client | httpx.AsyncClient, step: Outgoing) -> httpx.Request:
    return http.build_request(
        step.method, step.url, params=step.params, headers=step.headers, content=step.content
    )


def _run_request(
    http: httpx.Client | httpx.AsyncClient, service: Service, run: Run[Any], content: Any
) -> httpx.Request:
    return http.build_request(
        "POST", service.at(run.path), headers=service.headers(run.media), content=content
    )


async def _slowly(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


def _broke(error: httpx.RequestError) -> str:
    return f"the connection to the service broke: {words_of(error)}"
