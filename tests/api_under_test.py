"""The API on memory storage: in-process, or behind a real hypercorn on a loopback port."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx
import structlog
import trio
import trustme

from timer_trio.access.audit_log import AuditLog
from timer_trio.access.key_ring import KeyRing
from timer_trio.access.key_uses import KeyUses
from timer_trio.access.project_end import ProjectEnd
from timer_trio.api import ApiContext, CellHealth, MorePages, create_app
from timer_trio.api.access_log import AccessLog
from timer_trio.api.asgi import ACCESS_LOG
from timer_trio.calendar import instants, zone_data_version
from timer_trio.clock import Clock
from timer_trio.cluster.releases import OLDEST, Releases
from timer_trio.config import Settings
from timer_trio.domain.addresses import LOOPBACK, AddressGuard, AllowedDestination
from timer_trio.domain.masking import sensitive_headers
from timer_trio.domain.membership import Identity
from timer_trio.domain.planning import Calendar
from timer_trio.domain.project import ProjectId
from timer_trio.domain.settlement import Completed, Failed, Settlement
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import Claim, DueTimer, ReplicaId, Status, TimerId, shard_of
from timer_trio.intake.bulk import BulkWriter
from timer_trio.intake.intake import Intake
from timer_trio.intake.places import Places
from timer_trio.intake.redrive import Redriver
from timer_trio.intake.schedules import Schedules
from timer_trio.scheduler.replanning import Replanner
from timer_trio.server import Server
from timer_trio.storage.memory import MemoryStorage
from timer_trio.telemetry.exposition import exposed
from timer_trio.telemetry.metrics import Metrics

T = TypeVar("T")

API_KEY: Final = "k" * 32
START: Final = datetime(2030, 1, 1, tzinfo=UTC)
MAX_BODY_BYTES: Final = 256 * 1024
MAX_METADATA_KEYS: Final = 64
WANTED: Final[dict[str, Any]] = {"delay": 60, "callback_url": "https://example.com/hook"}
SCHEDULE: Final[dict[str, Any]] = {
    "cron": "0 9 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "callback_url": "https://example.com/hook",
}

_REPLICA: Final = ReplicaId(UUID(int=1))
_CLAIM: Final = Claim(1)


@dataclass(slots=True)
class HealthOnDemand:
    """Reports what a test wants it to."""

    database_connected: bool = True
    trouble: str | None = None
    ready: bool = True
    warnings: list[str] = field(default_factory=list)
    cells: Sequence[CellHealth] = ()
    replica_ids: Sequence[ReplicaId] = (_REPLICA,)


class HandClock(Clock):
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.instant = START

    def now(self) -> datetime:
        return self.instant

    def timestamp(self) -> datetime:
        return self.instant

    def advance(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


class ApiUnderTest:
    """An API, its parts, and a client that has the key; callbacks may reach what is `allowed`.

    `pages` are served beside it: those of the console, which most tests need not wait for.
    """

    def __init__(
        self,
        allowed: Iterable[AllowedDestination] = LOOPBACK,
        max_body_bytes: int = MAX_BODY_BYTES,
        storage: MemoryStorage | None = None,
        sensitive: Iterable[str] = (),
        pages: MorePages | None = None,
        root_path: str = "",
    ) -> None:
        self.living = 1
        """How many replicas it takes to be there."""
        self.clock = HandClock()
        self.storage = storage or MemoryStorage(self.clock.now)
        self.health = HealthOnDemand()
        self.stopping = trio.Event()
        self.closing = trio.Event()
        """Set once the server is to take no more requests."""
        self.metrics = metrics = Metrics()
        self.offered: list[DueTimer] = []
        """What is near may be fired at once."""
        self.releases = releases = Releases(self.storage)
        self.rule_changes = 0
        """How often the replica was told that a rule has changed."""
        self.redriver = Redriver(
            storage=self.storage, clock=self.clock, offer=self.offered.extend, releases=releases
        )
        self.bulk_writer = BulkWriter(
            storage=self.storage,
            clock=self.clock,
            offer=self.offered.extend,
            metrics=metrics,
            releases=releases,
        )
        self.intake = Intake(
            storage=self.storage,
            clock=self.clock,
            offer=self.offered.extend,
            metrics=metrics,
            releases=releases,
            places=Places.of_one_cell(Shards()),
            window_s=300,
        )
        calendar = Calendar(instants, zone_data_version())
        self.schedules = Schedules(
            storage=self.storage,
            clock=self.clock,
            calendar=calendar,
            offer=self.offered.extend,
            expect=lambda _: None,
            releases=releases,
            places=Places.of_one_cell(Shards()),
        )
        replanner = Replanner(
            storage=self.storage, clock=self.clock, calendar=calendar, offer=self.offered.extend
        )
        self.key_ring = KeyRing(self.storage)
        self.key_uses = KeyUses(self.storage)
        self.audit_log = AuditLog(storage=self.storage, clock=self.clock)
        self.context = ApiContext(
            storage=self.storage,
            intake=self.intake,
            redriver=self.redriver,
            bulk_writer=self.bulk_writer,
            schedules=self.schedules,
            replanner=replanner,
            calendar=calendar,
            key_ring=self.key_ring,
            key_uses=self.key_uses,
            audit_log=self.audit_log,
            project_end=ProjectEnd(
                storage=self.storage, clock=self.clock, key_ring=self.key_ring, wait_s=0
            ),
            clock=self.clock,
            health=self.health,
            metrics=metrics,
            metrics_text=lambda: exposed(metrics.registry.collect()),
            api_key=API_KEY,
            max_body_bytes=max_body_bytes,
            max_metadata_keys=MAX_METADATA_KEYS,
            default_timeout_s=30.0,
            default_misfire_grace_s=300.0,
            guard=AddressGuard(allowed),
            releases=releases,
            rules_changed=self._count_rule_change,
            living=lambda: self.living,
            sensitive=sensitive_headers(sensitive),
            root_path=root_path,
            stopping=self.stopping,
        )
        self.app = create_app(self.context, pages)
        # Quart's types of the ASGI messages are narrower than httpx's.
        asgi: Any = self.app
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=asgi, raise_app_exceptions=False),
            base_url="http://api",
            headers={"X-API-Key": API_KEY},
        )

    def _count_rule_change(self) -> None:
        self.rule_changes += 1

    async def create(self, **fields: Any) -> Any:
        """Create a timer; answers with its data."""
        answer = await self.client.post("/timers", json={**WANTED, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]

    async def create_schedule(self, **fields: Any) -> Any:
        """Create a schedule; answers with its data."""
        answer = await self.client.post("/schedules", json={**SCHEDULE, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]

    async def create_project(self, name: str) -> ProjectId:
        """Create a project; answers with its number."""
        answer = await self.client.post("/projects", json={"name": name})
        assert answer.status_code == 201, answer.text
        project = await self.storage.project_named(name)
        assert project is not None
        return project.id

    async def create_key(self, *scopes: str, project: str = "default", **fields: Any) -> str:
        """Create a key; answers with what is sent as such."""
        answer = await self.client.post(
            "/keys",
            json={"name": "ci", "scopes": scopes, **fields},
            headers={"X-Project": project},
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["key"])

    async def get(self, timer_id: str) -> Any:
        answer = await self.client.get(f"/timers/{timer_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def begin(self, timer_id: str, claim: int = _CLAIM) -> None:
        """Claim a timer, which makes it executing."""
        far = START + timedelta(days=9_999)
        await self.storage.join(_REPLICA, self.clock.now(), Identity(version=OLDEST))
        known_id = TimerId(UUID(timer_id))
        terms = await self.storage.take_terms(_REPLICA, [shard_of(known_id)])
        is_in_flow = self.storage._rows[known_id].timer.flow_key is not None
        reply = await self.storage.claim(
            _REPLICA,
            Claim(claim),
            [known_id],
            far,
            self.clock.now(),
            terms=terms if is_in_flow else None,
        )
        assert len(reply.claimed) == 1

    async def end(self, timer_id: str, status: Status, last_error: str | None = None) -> None:
        """Settle a timer that was begun."""
        ended_id, now = TimerId(UUID(timer_id)), self.clock.now()
        settlement: Settlement = Completed(
            timer_id=ended_id, claim=_CLAIM, executed_at=now, http_status=200, duration_ms=1
        )
        if status is Status.FAILED:
            settlement = Failed(
                timer_id=ended_id,
                claim=_CLAIM,
                is_begun=True,
                executed_at=now,
                last_error=last_error or "",
            )
        assert await self.storage.settle([settlement], self.clock.now()) == [True]


def besides_requests(logs: Iterable[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """Leave out of what was logged that there were requests."""
    of_requests = {"request", "refused_requests_left_out"}
    return [line for line in logs if line["event"] not in of_requests]


@asynccontextmanager
async def running_api(
    allowed: Iterable[AllowedDestination] = LOOPBACK,
    max_body_bytes: int = MAX_BODY_BYTES,
    sensitive: Iterable[str] = (),
    pages: MorePages | None = None,
    root_path: str = "",
) -> AsyncIterator[ApiUnderTest]:
    """Run an API in-process."""
    async with trio.open_nursery() as nursery:
        api = ApiUnderTest(
            allowed, max_body_bytes, sensitive=sensitive, pages=pages, root_path=root_path
        )
        nursery.start_soon(api.intake.run)
        yield api
        nursery.cancel_scope.cancel()


def _written_nowhere() -> AccessLog:
    """Return what makes each line, and keeps it from the output of a command in this process."""
    level = structlog.make_filtering_bound_logger(logging.DEBUG)
    logger = structlog.wrap_logger(structlog.ReturnLogger(), processors=[], wrapper_class=level)
    return AccessLog(logger.bind())


@asynccontextmanager
async def served_api(
    hypercorn_config: Path | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    pages: MorePages | None = None,
    root_path: str = "",
    **limits: Any,
) -> AsyncIterator[tuple[ApiUnderTest, str]]:
    """Run an API behind its own server, under these limits; yields its base URL as well."""
    server = Server(Settings(port=0), hypercorn_config)
    server.limits = replace(server.limits, **limits)
    running = running_api(max_body_bytes=max_body_bytes, pages=pages, root_path=root_path)
    async with running as api, trio.open_nursery() as nursery:
        api.app.config[ACCESS_LOG] = _written_nowhere()
        await nursery.start(server.run, api.app, api.metrics, api.closing)
        yield api, server.urls[0]
        nursery.cancel_scope.cancel()


async def in_thread(work: Callable[[], T]) -> T:
    """Do work that blocks, such as asking the API, while that goes on."""
    return await trio.to_thread.run_sync(work)  # noqa: TID251 - the API must run


def tls_config(folder: Path, authority: trustme.CA, more: str = "") -> Path:
    """Write settings for hypercorn: a certificate for 127.0.0.1, and whatever more."""
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    path = folder / "hypercorn.toml"
    files = f'certfile = "{folder}/cert.pem"\nkeyfile = "{folder}/key.pem"\n'
    path.write_text(f'{files}bind = "127.0.0.1:0"\n{more}')
    return path
