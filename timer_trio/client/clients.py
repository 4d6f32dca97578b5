"""The two clients: what they are asked is the same, and how they wait is not."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import httpx

from timer_trio.client.answers import Health, Pause, Readiness
from timer_trio.client.call import Call
from timer_trio.client.conversation import Service
from timer_trio.client.destinations import Destinations
from timer_trio.client.drivers import AsyncDriver, SyncDriver
from timer_trio.client.flows import Flows
from timer_trio.client.operation import D, Resource, operation
from timer_trio.client.reading import record
from timer_trio.client.schedules import Schedules
from timer_trio.client.signing_secrets import SigningSecrets
from timer_trio.client.timers import Timers

TIMEOUT_S: Final = 20.0
"""For each answer: a service that cannot reach its database says so before."""
RETRIES: Final = 3
MAX_WAIT_S: Final = 30.0
_TOLD: Final = frozenset({HTTPStatus.OK.value, HTTPStatus.SERVICE_UNAVAILABLE.value})
"""With either the service tells how it is."""


class _Operations(Resource[D]):
    def __init__(self, driver: D) -> None:
        super().__init__(driver)
        self.timers = Timers(driver)
        self.schedules = Schedules(driver)
        self.flows = Flows(driver)
        self.destinations = Destinations(driver)
        self.signing_secrets = SigningSecrets(driver)

    @operation
    def pause(self) -> Call[Pause]:
        """Hold back all that the project sends."""
        return Call.post("/pause", None, record(Pause), is_safe=True)

    @operation
    def resume(self) -> Call[Pause]:
        return Call.post("/resume", None, record(Pause), is_safe=True)

    @operation
    def health(self) -> Call[Health]:
        """Return whether the service has its database, also where it has not."""
        return replace(Call.get("/health", record(Health)), statuses=_TOLD)

    @operation
    def readiness(self) -> Call[Readiness]:
        """Return whether requests may be sent to this process."""
        return replace(Call.get("/health/ready", record(Readiness)), statuses=_TOLD)


class Client(_Operations[SyncDriver]):
    """A client for code that blocks; threads may share it."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        project: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        max_wait_s: float = MAX_WAIT_S,
        http: httpx.Client | None = None,
    ) -> None:
        """Make a client of the service at `url`.

        `project` is for the key of the whole service. What is safe to be asked again is asked up to
        `retries` times more, unless that means to wait for longer than `max_wait_s`. `http` of your
        own, with proxies or certificates, has a timeout of its own and is yours to close.

        Raises:
            ValueError: no service can be at `url`, or have such a key or project.
        """
        service = _service(url, key, project, retries, max_wait_s)
        self._is_own = http is None
        self._http = httpx.Client(timeout=timeout_s) if http is None else http
        super().__init__(SyncDriver(service, self._http))

    def close(self) -> None:
        """Close its connections."""
        if self._is_own:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(_Operations[AsyncDriver]):
    """A client for `async` code, under trio or asyncio, shared by the tasks of one event loop."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        project: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        max_wait_s: float = MAX_WAIT_S,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Make a client; as Client has it."""
        service = _service(url, key, project, retries, max_wait_s)
        self._is_own = http is None
        self._http = httpx.AsyncClient(timeout=timeout_s) if http is None else http
        super().__init__(AsyncDriver(service, self._http))

    async def aclose(self) -> None:
        """Close its connections."""
        if self._is_own:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _service(
    url: str, key: str | None, project: str | None, retries: int, max_wait_s: float
) -> Service:
    try:
        read = httpx.URL(url)
        is_one = read.scheme in {"http", "https"} and bool(read.host)
        is_one = is_one and not read.query and not read.fragment
    except (httpx.InvalidURL, UnicodeError):
        is_one = False
    if not is_one:
        raise ValueError(f"{url!r} is no URL of a service, such as https://timers.example.com")
    service = Service(
        url=url.rstrip("/"), key=key, project=project, retries=retries, max_wait_s=max_wait_s
    )
    service.headers()
    return service
