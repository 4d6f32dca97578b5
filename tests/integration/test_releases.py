from __future__ import annotations

import psycopg
import pytest

from tests.contract.timers import ALICE, NOW
from timer_trio import __version__
from timer_trio.cluster.releases import Releases
from timer_trio.domain.errors import OlderReplicasError
from timer_trio.domain.membership import Identity
from timer_trio.storage.postgres import PostgresStorage

JOIN = """
    INSERT INTO replicas (id, started_at, host, pid, version)
    VALUES (gen_random_uuid(), now(), 'node-2', 8, %s)
"""


@pytest.mark.parametrize(
    ("version", "words"), [("0.1.0", "0.1.0 on node-2:8"), ("", "unknown version on node-2:8")]
)
async def test_row_of_an_older_release_is_in_the_way_until_it_is_gone(
    clean_database_url: str, version: str, words: str
) -> None:
    async with PostgresStorage(clean_database_url, pool_size=1) as storage:
        await storage.join(ALICE, NOW, Identity(host="node-1", pid=7, version=__version__))
        releases = Releases(storage)
        with psycopg.connect(clean_database_url, autocommit=True) as connection:
            connection.execute(JOIN, [version])
            with pytest.raises(OlderReplicasError, match=words):
                await releases.require_all_new()
            connection.execute("DELETE FROM replicas WHERE host = 'node-2'")
            await releases.require_all_new()
            # An answer that is remembered: the database is not asked any more.
            connection.execute(JOIN, [version])
            await releases.require_all_new()
