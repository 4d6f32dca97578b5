"""What a service costs that has nothing to do, with the default settings.

Statements are counted in the database's own log, where the service's are the only ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import psycopg

from benchmarks.contender import Contender, service
from benchmarks.machine import sleep
from benchmarks.report import Line, Size

NAME: Final = "idle"
SETTLING_S: Final = 5.0

# Those of timer_trio/config.py: the benchmarks' own look more often.
DEFAULTS: Final = {"CACHE_WINDOW": "300", "LOADER_INTERVAL": "30", "LOG_LEVEL": "debug"}


def measure(size: Size) -> Iterator[Line]:
    seconds = 20.0 if size is Size.QUICK else 60.0
    with service(DEFAULTS) as contender:
        log_statements(contender)
        sleep(SETTLING_S)
        before, asked, looks = contender.cost(), statements(contender), _looks(contender)
        sleep(seconds)
        # The reading itself is not logged: it comes after what it reads.
        asked, looks = statements(contender) - asked, _looks(contender) - looks
        cost = contender.cost() - before
        rss_bytes = contender.rss_bytes()
    a_minute = 60 / seconds
    yield Line(NAME, "statements a minute", asked * a_minute, at_most=65)
    if size is Size.FULL:
        yield Line(NAME, "scheduling look-ups a minute", looks, at_most=2)
    yield Line(NAME, "worker CPU a minute", cost.worker_s * a_minute, "s", at_most=0.5)
    yield Line(NAME, "database CPU a minute", cost.database_s * a_minute, "s")
    yield Line(NAME, "memory of the worker", rss_bytes / 1e6, "MB")


def log_statements(contender: Contender) -> None:
    with psycopg.connect(contender.database.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("ALTER SYSTEM SET log_line_prefix = '%a: '")
        connection.execute("SELECT pg_reload_conf()")


def statements(contender: Contender) -> int:
    lines = (contender.database.data_dir / "postgresql.log").read_text("utf-8").splitlines()
    return sum(line.startswith("timer-trio: LOG:  execute") for line in lines)


def _looks(contender: Contender) -> int:
    lines = contender.program.log_lines()
    return sum(json.loads(line)["event"] == "loaded" for line in lines if line.startswith("{"))
