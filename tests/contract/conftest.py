from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from tests.contract.timers import NOW
from timer_trio.storage import Storage
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.postgres import PostgresStorage


@pytest.fixture(params=["memory", "postgres"])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Each of the two: one suite proves that they mean the same."""
    if request.param == "memory":
        yield MemoryStorage(lambda: NOW)
        return
    url = request.getfixturevalue("clean_database_url")
    with closing(PostgresStorage(url, pool_size=4)) as storage:
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
