"""`timer-trio bulk` over sockets."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.api_under_test import API_KEY, START, ApiUnderTest, served_api
from tests.command import run_command
from tests.one_answer import one_answer
from timer_trio.domain.timer import rfc3339

NOW = rfc3339(START)
NOWHERE = "http://127.0.0.1:1"


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    return run_command(folder, "bulk", *arguments, API_KEY=API_KEY)


async def served(folder: Path, url: str, *arguments: str) -> tuple[int, str]:
    """Ask an API of this process, which logs to standard error as well."""
    ask = partial(run, folder, "--url", url, *arguments)
    code, out, err = await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run
    return code, out or err


async def statuses(api: ApiUnderTest) -> list[str]:
    timers = (await api.client.get("/timers")).json()["data"]["timers"]
    return sorted(timer["status"] for timer in timers)


async def test_each_action_is_done_and_counted(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        for customer in ("c-1", "c-1", "c-2"):
            await api.create(metadata={"customer": customer})
        some = ("--metadata", "customer=c-1")
        do = partial(served, tmp_path, url)
        assert await do("cancel", *some, "--dry-run") == (0, "2 would be canceled, 0 skipped\n")
        assert await do("cancel", *some) == (0, "2 canceled, 0 skipped\n")
        assert await statuses(api) == ["canceled", "canceled", "pending"]
        api.clock.advance(1)
        assert await do("redrive", "--status", "canceled", "--limit", "1", "--rate", "2.5") == (
            0,
            "1 redriven, 0 skipped\n",
        )
        api.clock.advance(1)
        assert await do("delete", *some) == (0, "1 deleted, 1 skipped\n")
        assert await statuses(api) == ["pending", "pending"]


async def test_json_has_the_counts_and_the_instant(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        await api.create()
        await api.create(delay=9_000)
        later = "2030-01-01T01:00:00Z"
        arguments = ("cancel", "--execute-after", later, "--json")
        _, out = await served(tmp_path, url, *arguments)
        counts = {"matched": 1, "done": 1, "skipped": 0}
        assert json.loads(out) == {"as_of": NOW, **counts}
        _, out = await served(
            tmp_path, url, "cancel", "--execute-before", later, "--as-of", NOW, "--json"
        )
        assert json.loads(out) == {"as_of": NOW, **counts}


async def test_what_the_service_refuses_is_told(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        code, err = await served(tmp_path, url, "cancel", "--execute-after", "yesterday")
        assert code == 2
        assert err.startswith("the service answered 400: filter.execute_after: must be an RFC 3339")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cancel"], "name at least one filter, such as --status failed"),
        (["cancel", "--metadata", "customer"], "--metadata must be NAME=VALUE: 'customer' is not"),
        (["cancel", "--metadata", "=x"], "--metadata must be NAME=VALUE"),
        (["cancel", "--metadata", "a=1", "--metadata", "a=2"], "--metadata names 'a' twice"),
        (["cancel", "--status", "done"], "'done' is not one of"),
        (["cancel", "--status", "pending", "--rate", "5"], "No such option"),
        (["redrive", "--status", "failed", "--rate", "0"], "--rate"),
        (["redrive", "--status", "failed", "--rate", "nan"], "--rate must be a number"),
        (["delete", "--status", "failed", "--limit", "0"], "--limit"),
        (["stop"], "No such command 'stop'"),
        (["cancel", "--status", "pending"], f"no answer from the service at {NOWHERE}"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, arguments: list[str], words: str) -> None:
    code, out, err = run(tmp_path, "--url", NOWHERE, *arguments)
    assert (code, out) == (2, "")
    assert words in err


OPENING = json.dumps({"as_of": NOW})
PROGRESS = json.dumps({"as_of": NOW, "matched": 1_700, "done": 1_500, "skipped": 200})
AGAIN = f"repeat it with --as-of {NOW} to go on"


def ending(code: int, message: str, data: Any) -> str:
    return json.dumps({"code": code, "message": message, "data": data})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (f"200 OK\r\n\r\n{OPENING}\n", ["before it was whole: 0 are done", AGAIN]),
        (f"200 OK\r\n\r\n{OPENING}\n{PROGRESS}\n", ["1,500 are done, and some more", AGAIN]),
        (
            f"200 OK\r\nContent-Length: 9999\r\n\r\n{OPENING}\n{PROGRESS}\n",
            ["the connection to the service", "broke", AGAIN],
        ),
        (
            f"200 OK\r\n\r\n{OPENING}\n"
            + ending(1, "the service stops", {"matched": 3, "done": 2, "skipped": 1}),
            ["the service stops (2 are done", AGAIN],
        ),
        ("200 OK\r\n\r\n<html>", ["no timer service"]),
        ("200 OK\r\n\r\n", ["no timer service"]),
        (f"503 Busy\r\n\r\n{ending(1, '4 bulk actions are under way', None)}", ["4 bulk actions"]),
        ("404 Not Found\r\n\r\n<html>", ["404", "no timer service"]),
    ],
)
def test_answer_that_breaks_off_is_told_with_how_to_go_on(
    tmp_path: Path, answer: str, words: list[str]
) -> None:
    head, _, rest = answer.partition("\r\n")
    whole = f"HTTP/1.1 {head}\r\nConnection: close\r\n{rest}"
    with one_answer(whole, b"}") as (url, requests):
        code, out, err = run(tmp_path, "--url", url, "cancel", "--status", "pending")
    assert (code, out) == (2, "")
    assert requests[0].startswith(b"POST /timers/bulk HTTP/1.1\r\n")
    for each in words:
        assert each in err
