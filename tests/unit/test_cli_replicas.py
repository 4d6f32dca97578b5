from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.contract.timers import NOW, seconds
from timer_trio.cli.replicas import Replica, Replicas, table

ALIVE: Replica = {
    "host": "machine-7",
    "pid": 4711,
    "version": "1.2.3",
    "started_at": datetime(2029, 12, 31, 22, 4, 5, 999_999, timezone(timedelta(hours=-1))),
    "status": "alive",
    "shards": 134,
    "in_flight": 3,
    "cached": 17_000,
    "heartbeat_at": NOW - seconds(0.42),
    "clock_offset_seconds": 0.002,
    "is_this_one": True,
}
SILENT: Replica = {
    "host": "",
    "pid": 0,
    "version": "",
    "started_at": NOW - seconds(7_380),
    "status": "silent",
    "shards": 9,
    "in_flight": 0,
    "cached": 0,
    "heartbeat_at": None,
    "clock_offset_seconds": None,
    "is_this_one": False,
}


def lines(*replicas: Replica) -> list[str]:
    data: Replicas = {"timestamp": NOW, "replicas": list(replicas)}
    return list(table(data))


def heartbeat_in(one: Replica) -> str:
    _, row = lines(one)
    return row.partition("17000  ")[2].partition("  +")[0].strip()


def test_table_is_aligned_and_marks_the_one_that_answered() -> None:
    heading, alive, silent = lines(ALIVE, SILENT)
    assert heading == (
        "  status  host:pid        version  up since (UTC)       shards  in flight  cached  "
        "last heartbeat  clock offset"
    )
    assert alive == (
        "* alive   machine-7:4711  1.2.3    2029-12-31 23:04:05     134          3   17000  "
        "      0.4s ago       +0.002s"
    )
    assert silent == (
        "  silent  unknown         unknown  2029-12-31 21:57:00       9          0       0  "
        "         never       unknown"
    )


@pytest.mark.parametrize(
    ("ago_s", "words"), [(-0.1, "0s ago"), (0.0, "0s ago"), (4.2, "4.2s ago"), (7_383, "2h 3m ago")]
)
def test_last_heartbeat_is_told_by_the_time_of_the_answer(ago_s: float, words: str) -> None:
    assert heartbeat_in({**ALIVE, "heartbeat_at": NOW - seconds(ago_s)}) == words


def test_clock_that_is_behind_has_its_sign() -> None:
    _, row = lines({**ALIVE, "clock_offset_seconds": -90.5})
    assert row.endswith("  -90.500s")


def test_nobody_there_is_a_table_without_rows() -> None:
    assert len(lines()) == 1
