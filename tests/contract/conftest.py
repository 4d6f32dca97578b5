from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Final

import psycopg
import pytest

from tests.contract.cells import CellsOfSuite
from tests.contract.timers import NOW
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import TimerId
from timer_trio.storage import Storage
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.postgres import PostgresStorage


@dataclass(frozen=True)
class Stranger:
    lock: Callable[[Iterable[TimerId]], None]
    unlock: Callable[[], None]


ENCRYPTION_KEY: Final = "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleS0="


@pytest.fixture(
    params=[
        "memory",
        "postgres",
        pytest.param("encrypted", marks=pytest.mark.sampled(of=8)),
        pytest.param("partitioned", marks=pytest.mark.sampled(of=8)),
        pytest.param("cells", marks=pytest.mark.sampled(of=4)),
        pytest.param("postgres cells", marks=pytest.mark.sampled(of=12)),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def storage_url(kind: str, request: pytest.FixtureRequest) -> str:
    """The database of a storage that has one."""
    name = "clean_partitioned_url" if kind == "partitioned" else "clean_database_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
def storage(kind: str, request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Each of the two, PostgreSQL with a key and in partitions as well: they mean the same.

    So do two cells of either.
    """
    if kind == "memory":
        yield MemoryStorage(lambda: NOW)
        return
    if kind == "cells":
        yield CellsOfSuite([MemoryStorage(lambda: NOW), MemoryStorage(lambda: NOW)])
        return
    if kind == "postgres cells":
        urls = map(request.getfixturevalue, ["clean_database_url", "second_clean_database_url"])
        with ExitStack() as stack:
            yield CellsOfSuite(
                [stack.enter_context(closing(PostgresStorage(url, pool_size=4))) for url in urls]
            )
        return
    url = request.getfixturevalue("storage_url")
    cipher = Cipher([ENCRYPTION_KEY] if kind == "encrypted" else [])
    with closing(PostgresStorage(url, pool_size=4, cipher=cipher)) as storage:
        yield storage


@pytest.fixture
def postgres(clean_database_url: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(clean_database_url, pool_size=4)) as storage:
        yield storage


@pytest.fixture
def sql(clean_database_url: str) -> Iterator[psycopg.Connection]:
    """A session of somebody who edits rows by hand."""
    with psycopg.connect(clean_database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def stranger(storage: Storage, request: pytest.FixtureRequest) -> Iterator[Stranger]:
    """Somebody who locks rows, in the first cell, and leaves his session open."""
    if isinstance(storage, CellsOfSuite):
        storage = storage.storages[0]
    if isinstance(storage, MemoryStorage):
        patch = request.getfixturevalue("monkeypatch")
        patch.setattr("timer_trio.storage.memory.timers.CHANGE_LOCK_S", 0.01)
        yield Stranger(storage.locked.update, storage.locked.clear)
        return
    with psycopg.connect(request.getfixturevalue("storage_url")) as connection:

        def lock(timer_ids: Iterable[TimerId]) -> None:
            connection.execute("SELECT FROM timers WHERE id = ANY(%s) FOR UPDATE", [[*timer_ids]])

        yield Stranger(lock, connection.rollback)


@pytest.fixture
def set_project(storage: Storage, request: pytest.FixtureRequest) -> Callable[[ProjectId], None]:
    """Give all timers of the first cell to a project, as somebody who edits rows by hand does."""
    if isinstance(storage, CellsOfSuite):
        storage = storage.storages[0]
    if isinstance(storage, MemoryStorage):
        rows = storage._rows

        def give(project: ProjectId) -> None:
            rows.update({key: replace(row, project=project) for key, row in rows.items()})

        return give

    def give_in_sql(project: ProjectId) -> None:
        with psycopg.connect(request.getfixturevalue("storage_url")) as connection:
            connection.execute("UPDATE timers SET project = %s", [project])

    return give_in_sql
