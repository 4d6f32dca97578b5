"""Timers at a steady rate: how late they come, and what they cost.

python benchmarks/steady.py [--rate 500] [--seconds 20]: starts the service with a database of its
own under a temporary DATA_DIR, writes the timers straight into it, and prints lateness as an
independent receiver saw it, CPU time of the service for each timer, and transactions of the
database for each timer, heartbeats and look-ups included, creates not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import trio

from timer_trio.domain.timer import SHARDS, Delivery, Method, NewTimer, TimerSpec, new_timer_id
from timer_trio.embedded import running_url
from timer_trio.storage.postgres import PostgresStorage

RECEIVER = Path(__file__).with_name("receiver.py")
LEAD_S = 4.0
"""From the writing of the timers to the first one: longer than a pass of the loader."""
BATCH = 500


@dataclass(frozen=True)
class Cost:
    """What the service and its database have spent so far."""

    cpu_s: float
    transactions: int


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=500, help="timers a second")
    parser.add_argument("--seconds", type=int, default=20)
    asked = parser.parse_args()
    count = asked.rate * asked.seconds
    with service() as (process, database_url), receiver(count) as (receiving, callback_url):
        write(database_url, timers(count, asked.rate, callback_url))
        before = cost(process, database_url)
        assert receiving.stdout is not None
        late_ms = sorted(json.loads(receiving.stdout.readline()))
        after = cost(process, database_url)
    assert len(late_ms) == count, f"{len(late_ms)} callbacks of {count} timers"
    assert late_ms[0] >= 0, "a callback came early"
    report(late_ms, before, after)


def report(late_ms: Sequence[float], before: Cost, after: Cost) -> None:
    count = len(late_ms)
    shares = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    late = ", ".join(f"{name} {late_ms[int((count - 1) * at)]:.1f}" for name, at in shares)
    print(f"{count} timers, late by (ms): {late}")
    print(f"CPU of the service: {(after.cpu_s - before.cpu_s) / count * 1e6:.0f} us a timer")
    transactions = after.transactions - before.transactions
    print(f"transactions of the database: {transactions / count:.3f} a timer")


@contextmanager
def service() -> Iterator[tuple[subprocess.Popen[str], str]]:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        data_dir.chmod(0o711)  # so that an account without root's rights can reach the database
        settings = {"DATA_DIR": folder, "PORT": "0", "LOADER_INTERVAL": "2", "CACHE_WINDOW": "60"}
        command = [sys.executable, "-m", "timer_trio", "serve"]
        with subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            next(line for line in process.stdout if "listens on" in line)
            url = running_url(data_dir)
            assert url is not None
            try:
                yield process, url
            finally:
                process.terminate()


@contextmanager
def receiver(count: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, str(RECEIVER), str(count)]
    with subprocess.Popen(  # noqa: S603 - our own script
        command, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}/"


def timers(count: int, rate: int, callback_url: str) -> list[NewTimer]:
    now = datetime.now(UTC)  # noqa: TID251 - the database runs on this machine
    return [
        NewTimer(
            id=new_timer_id(now, random.randrange(SHARDS), secrets.randbits),  # noqa: S311 - a shard
            created_at=now,
            spec=TimerSpec(
                execute_at=now + timedelta(seconds=LEAD_S + number / rate),
                callback_url=callback_url,
                callback_method=Method.POST,
                callback_headers={},
                callback_payload=None,
                metadata=None,
                timeout_s=30,
                delivery=Delivery.AT_LEAST_ONCE,
                misfire_grace_s=300,
            ),
        )
        for number in range(count)
    ]


def write(database_url: str, wanted: Sequence[NewTimer]) -> None:
    async def create() -> None:
        async with PostgresStorage(database_url, pool_size=1) as storage:
            for start in range(0, len(wanted), BATCH):
                await storage.create(wanted[start : start + BATCH], wanted[0].created_at)

    trio.run(create)


def cost(process: subprocess.Popen[str], database_url: str) -> Cost:
    ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database"
            " WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return Cost(sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), row[0])


if __name__ == "__main__":
    main()
