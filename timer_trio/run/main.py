"""The root nursery: what runs, and in which order it ends."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from timer_trio import __version__
from timer_trio.calendar import zone_data_version
from timer_trio.config import CellUrl, Settings
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.cells import ALL
from timer_trio.embedded import WorkersLock, embedded_postgres, kept_api_key
from timer_trio.run.metrics_of_all import MetricsOfAll
from timer_trio.run.open_files import Shares
from timer_trio.run.parent import Start, Workers, prepare_database
from timer_trio.run.process import Signals, handled_signals, replica_on, run_replica, use_system
from timer_trio.run.start_paused import pause_all_on
from timer_trio.run.welcome import welcome
from timer_trio.server import Server

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Database:
    """`lock`: that of the embedded one; None: the databases are not ours."""

    urls: Sequence[CellUrl]
    api_key: SecretStr
    lock: WorkersLock | None = None

    @property
    def alone(self) -> bool:
        """Whether no other service, nor workers of an earlier one, can be alive on it."""
        return self.lock is not None and self.lock.is_alone


async def serve(settings: Settings, *, hypercorn_config: Path | None = None) -> bool:
    """Run the service until SIGTERM, SIGINT or SIGHUP; a second signal hurries.

    Answers whether its workers, if it has any, ended as they should.

    Raises:
        StartRefusedError: it cannot run in this environment.
        OutcomesLostError: it stopped, and the database did not take the last outcomes.
    """
    shares = use_system(settings)
    server = Server(settings, hypercorn_config, most_connections=shares.clients)
    is_well = True  # also if a signal comes while it starts
    async with handled_signals() as signals, _database(settings) as database:
        service = _Service(settings, database, server, signals)
        if settings.workers == 1:
            is_well = await service.run_here(shares)
        else:
            is_well = await service.run_workers(hypercorn_config)
        log.info("stopped")
    return is_well


@dataclass(frozen=True, slots=True)
class _Service:
    """What is there whether the work is done in this process or by workers."""

    settings: Settings
    database: _Database
    server: Server
    signals: Signals

    async def run_here(self, shares: Shares) -> bool:
        async with replica_on(
            self.database.urls, self.settings, shares=shares, alone=self.database.alone
        ) as replica:
            self.signals.handler = replica.stop
            self._log_start()
            await run_replica(replica, self.server, self.database.api_key, self._show_ready)
        return True

    async def run_workers(self, hypercorn_config: Path | None) -> bool:
        self.server.listen()
        self._log_start()
        for _, url in self.database.urls:
            await prepare_database(url.get_secret_value(), alone=self.database.alone)
        if self.settings.start_paused:
            for _, url in self.database.urls:
                await pause_all_on(url.get_secret_value())
        start = Start(
            settings=self._settings_of_workers(),
            hypercorn_config=hypercorn_config,
            listening=self.server.listening,
            keep=[self.database.lock.file] if self.database.lock else [],
        )
        workers = Workers(
            start,
            metrics=MetricsOfAll(self.settings.workers),
            grace_s=self.settings.shutdown_grace_s,
            on_ready=self._show_ready,
            on_stop=self.server.close,
        )
        self.signals.handler = workers.stop
        return await workers.run(self.settings.workers)

    def _settings_of_workers(self) -> Settings:
        # One that is started again must not pause what was resumed.
        update = {"api_key": self.database.api_key, "workers": 1, "start_paused": False}
        if self.database.lock is not None:
            update["database_url"] = self.database.urls[0].url
        return self.settings.model_copy(update=update)

    def _log_start(self) -> None:
        allowed = [str(entry) for entry in self.settings.callback_allow]
        urls = self.server.urls
        log.info(
            "starting",
            version=__version__,
            zone_data=zone_data_version(),
            listening=urls,
            callback_allow=allowed,
        )

    def _show_ready(self) -> None:
        """Log that the service is ready, and show whoever started it how to use it."""
        settings, url = self.settings, self.server.urls[0]
        log.info("ready", url=url)
        if self.database.lock is None:
            return
        words = welcome(
            url=url,
            data_dir=settings.data_dir,
            api_key=self._shown_key(),
            called_as=sys.argv[0],
            may_call_here=AddressGuard(settings.callback_allow).admits("127.0.0.1"),
            has_console=settings.console,
        )
        print(words)  # noqa: T201 - for the person who started it

    def _shown_key(self) -> str | None:
        if self.settings.api_key:
            return "$API_KEY"
        # Elsewhere it would be kept in a log, of a container or the journal.
        return self.database.api_key.get_secret_value() if sys.stdout.isatty() else None


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[_Database]:
    """Yield the database of the settings, or run our own for the length of the block."""
    if not settings.databases:
        async with embedded_postgres(settings.data_dir) as url:
            api_key = settings.api_key or kept_api_key(settings.data_dir)
            with closing(WorkersLock(settings.data_dir)) as lock:
                yield _Database(urls=[CellUrl(ALL, SecretStr(url))], api_key=api_key, lock=lock)
        return
    if settings.api_key is None:
        raise AssertionError("the settings demand a key with a database")
    yield _Database(urls=settings.databases, api_key=settings.api_key)
