"""The PostgreSQL of the tests: one server a session, one database a test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import psycopg
import pytest
import structlog
import trio
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from tests.folders import database_folder
from tests.sampling import WHOLE, is_sampled
from timer_trio.embedded.postgres_server import PostgresServer
from timer_trio.storage.migrations.migrate import migrate
from timer_trio.storage.migrations.partitioning import partition
from timer_trio.storage.postgres.connections import connect

_NUMBERS: Final = itertools.count()
_CLEAN: Final = (
    "DELETE FROM destination_outcomes; DELETE FROM destination_now; DELETE FROM flow_terms;"
    "DELETE FROM breaker_probes; DELETE FROM cell_map;"
    "DELETE FROM timers; DELETE FROM attempts; DELETE FROM timer_keys;"
    "DELETE FROM schedules; DELETE FROM replicas; DELETE FROM api_keys;"
    "DELETE FROM projects WHERE id <> 0; UPDATE projects SET settings = '{}',"
    "    paused_at = NULL, resumed_at = NULL, changed = 0;"
    "DELETE FROM flows; DELETE FROM paused_destinations;"
    "DELETE FROM signing_secrets; DELETE FROM audit; DELETE FROM project_quotas"
)


class Shared:
    """A migrated database for many tests, each of which finds it without a row.

    The session that cleans it stays open: a new one reads first what tables there are, which takes
    twenty times as long.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = psycopg.connect(url, autocommit=True)

    def cleaned(self) -> str:
        """Leave no row in it; answers with its URL."""
        try:
            self._session.execute(_CLEAN)
        except psycopg.OperationalError:
            if not self._session.closed:
                raise
            # A test has ended all sessions.
            self._session = psycopg.connect(self.url, autocommit=True)
            self._session.execute(_CLEAN)
        return self.url

    def close(self) -> None:
        self._session.close()


def pytest_xdist_auto_num_workers() -> int:
    """Run one more at once than there are processors: many wait for a service or for a moment."""
    return (os.cpu_count() or 1) + 1


def pytest_configure() -> None:
    """Write tracebacks as Python does: one with all variables takes a tenth of a second."""
    *others, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, renderer])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a sample leaves out: whoever names one case gets it."""
    if any("::" in str(argument) for argument in config.args):
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        of = max((mark.kwargs["of"] for mark in item.iter_markers("sampled")), default=1)
        is_run = is_sampled(item.nodeid, of=of) and (WHOLE or not item.get_closest_marker("soak"))
        (kept if is_run else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """An empty server: our own, or the one that TEST_DATABASE_URL names."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with database_folder() as folder:
        server = PostgresServer(folder / "data")
        yield trio.run(server.start)
        trio.run(server.stop)


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database, to be copied: it takes a twentieth of a second."""
    with database(postgres_url, "template0") as name:
        with psycopg.connect(postgres_url, dbname=name, autocommit=True) as connection:
            migrate(connection)
        yield name


@pytest.fixture(scope="session")
def shared_database(postgres_url: str, template: str) -> Iterator[Shared]:
    with shared(postgres_url, template) as one:
        yield one


@pytest.fixture(scope="session")
def second_shared_database(postgres_url: str, template: str) -> Iterator[Shared]:
    with shared(postgres_url, template) as one:
        yield one


@pytest.fixture(scope="session")
def partitioned_database(postgres_url: str, template: str) -> Iterator[Shared]:
    with shared(postgres_url, template) as one:
        with connect(one.url) as connection:
            for _ in partition(connection, 4, str):
                pass
        yield one


@pytest.fixture
def clean_database_url(shared_database: Shared) -> str:
    """A migrated database without a row: much quicker to have than one of one's own."""
    return shared_database.cleaned()


@pytest.fixture
def second_clean_database_url(second_shared_database: Shared) -> str:
    """Another one, as a second cell."""
    return second_shared_database.cleaned()


@pytest.fixture
def clean_partitioned_url(partitioned_database: Shared) -> str:
    """A clean database whose timers are in partitions."""
    return partitioned_database.cleaned()


@pytest.fixture
def database_url(postgres_url: str, template: str) -> Iterator[str]:
    """A migrated database for one test alone."""
    with database(postgres_url, template) as name:
        yield make_conninfo(postgres_url, dbname=name)


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A database for one test alone that nobody has migrated."""
    with database(postgres_url, "template0") as name:
        yield make_conninfo(postgres_url, dbname=name)


@contextmanager
def shared(postgres_url: str, template: str) -> Iterator[Shared]:
    with (
        database(postgres_url, template) as name,
        closing(Shared(make_conninfo(postgres_url, dbname=name))) as one,
    ):
        yield one


@contextmanager
def database(postgres_url: str, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    create = SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(create)
        try:
            yield name
        finally:
            drop = SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name))
            connection.execute(drop)
