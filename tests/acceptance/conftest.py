"""What each acceptance test starts from: a service on a database of its own, and a receiver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.receiver import ReceiverProcess, receiver_process
from tests.acceptance.service import Service, service
from tests.folders import database_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with database_folder() as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[ReceiverProcess]:
    async with receiver_process() as receiving:
        yield receiving


@pytest.fixture
def service_database(database_url: str) -> str:
    """The test's database as the service wants to have it named."""
    return as_url(database_url)


def as_url(conninfo: str) -> str:
    return f"postgresql:///?{urlencode(conninfo_to_dict(conninfo), quote_via=quote)}"


@pytest.fixture
async def served(service_database: str) -> AsyncIterator[Service]:
    async with service(DATABASE_URL=service_database) as serving:
        yield serving
