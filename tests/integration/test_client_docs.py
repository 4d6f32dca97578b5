"""The examples in docs/client.md, run against a real service."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from standardwebhooks import Webhook

from tests.api_under_test import API_KEY, ApiUnderTest, in_thread, served_api
from timer_trio.client import Client, errors

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text()
DOCS: Final = (ROOT / "docs" / "client.md").read_text()
FIRST, ASYNC, MANY, WRONG, RECEIVE, TESTING = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
SECRET: Final = "whsec_" + "c2VjcmV0" * 4


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "docs/client.md", "exec"), names)  # noqa: S102 - our own
    return names


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> Any:
    async with served_api() as (serving, url):
        # Its clock stands still; theirs is the machine's.
        serving.clock.instant = datetime.now(UTC)  # noqa: TID251
        monkeypatch.setenv("TIMER_TRIO_URL", url)
        monkeypatch.setenv("TIMER_TRIO_KEY", API_KEY)
        yield serving


async def run_beside(code: str) -> None:
    """Run an example while the API goes on."""
    await in_thread(lambda: run(code))


async def test_readme(api: ApiUnderTest) -> None:
    (code,) = re.findall(r"### From Python\n\n```python\n(.*?)```", README, re.DOTALL)
    url = os.environ["TIMER_TRIO_URL"]
    await run_beside(code.replace("http://127.0.0.1:8080", url).replace("…", API_KEY))
    assert (await api.client.get("/timers")).json()["data"]["total"] == 1


async def test_code_that_blocks(api: ApiUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    await run_beside(FIRST)
    (timer,) = (await api.client.get("/timers")).json()["data"]["timers"]
    assert (timer["status"], timer["metadata"]) == ("canceled", {"customer": "acme"})
    assert timer["id"] in capsys.readouterr().out


@pytest.mark.parametrize("last", ["asyncio.run(main())", "trio.run(main)"])
async def test_async_code(api: ApiUnderTest, capsys: pytest.CaptureFixture[str], last: str) -> None:
    await run_beside(
        ASYNC.replace("import asyncio", "import asyncio\nimport trio").replace(
            "asyncio.run(main())", last
        )
    )
    (timer,) = (await api.client.get("/timers")).json()["data"]["timers"]
    assert timer["status"] == "pending"
    assert "https://example.com/hooks/reminder" in capsys.readouterr().out


async def test_many(api: ApiUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    await run_beside(MANY)
    answer = (await api.client.get("/timers?status=canceled&limit=1")).json()["data"]
    assert answer["total"] == 100
    assert {"1000 ()", "100 0"} <= set(capsys.readouterr().out.splitlines())


async def test_what_goes_wrong(api: ApiUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    assert api.living
    await run_beside(WRONG)
    assert "callback_url must begin with http:// or https://" in capsys.readouterr().out


def test_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING_SECRETS", SECRET)
    receive: Any = run(RECEIVE)["receive"]
    now = datetime.now(UTC)  # noqa: TID251 - a receiver's own clock
    headers = {
        "Webhook-Id": "a",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Webhook(SECRET).sign("a", now, "{}"),
    }
    assert receive(headers, b"{}") == 204
    assert receive(headers, b"[]") == 401


def test_testing() -> None:
    run(TESTING)


def test_all_that_there_is_stands_in_the_docs() -> None:
    with Client("http://127.0.0.1") as client:
        parts = {"client": client, **vars(client)}
        table = dict(re.findall(r"^\| `(?:client\.)?(\w+)` \| (`\w+`.*) \|$", DOCS, re.MULTILINE))
        for name, listed in table.items():
            documented = set(re.findall(r"`(\w+)`", listed))
            methods = {each for each in dir(type(parts[name])) if not each.startswith("_")}
            assert documented == methods - {"close"}, name
    assert len(table) == 6
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.TimerTrioError):
            assert f"`{error.__name__}" in DOCS
