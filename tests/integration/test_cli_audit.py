"""`timer-trio audit` over sockets."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.api_under_test import API_KEY, served_api
from tests.command import run_command


async def tried(folder: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    ask = partial(run_command, folder, "audit", "--url", url, *arguments, API_KEY=API_KEY)
    return await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run


async def asked(folder: Path, url: str, *arguments: str) -> list[Any]:
    code, out, err = await tried(folder, url, *arguments, "--json")
    assert (code, err) == (0, "")
    return [*json.loads(out)["audit"]]


async def test_audit_is_listed_with_its_filters(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        key_id = (await api.create_key("read")).split("_")[1]
        api.clock.advance(1)
        for _ in range(3):
            await api.create()
        await api.audit_log.write()
        created, made = await asked(tmp_path, url)
        assert (created["action"], created["count"]) == ("timer.created", 3)
        assert (made["target"], made["details"]) == (key_id, {"scopes": ["read"]})
        ask = partial(asked, tmp_path, url)
        assert await ask("--action", "key.created") == [made]
        assert await ask("--target", key_id, "--key-id", "API_KEY") == [made]
        assert await ask("--after", "2030-01-01T00:00:00Z") == [created]
        assert await ask("--before", "2030-01-01T00:00:01Z") == [made]
        assert await ask("--limit", "1") == [created]


async def test_programs_get_a_line_an_entry(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        key_id = (await api.create_key("read")).split("_")[1]
        await api.audit_log.write()
        code, out, err = await tried(tmp_path, url)
        assert (code, err) == (0, "")
        told = ("key.created", key_id, "1", "API_KEY", "127.0.0.1", '{"scopes": ["read"]}')
        assert out == "\t".join(("2030-01-01T00:00:00Z", *told)) + "\n"


async def test_people_get_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timer_trio.cli.audit.shows_tables", lambda: True)
    async with served_api() as (api, url):
        await api.create_key("read")
        await api.audit_log.write()
        code, out, _ = await tried(tmp_path, url)
        heading, line = out.splitlines()
        assert code == 0
        assert heading.split("  ")[0] == "at (UTC)"
        assert line.startswith("2030-01-01 00:00:00  key.created")


async def test_audit_is_that_of_the_project_that_is_named(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        await api.create_project("shop")
        await api.create_key("read", project="shop")
        await api.audit_log.write()
        assert [each["action"] for each in await asked(tmp_path, url)] == ["project.created"]
        told = await asked(tmp_path, url, "--project", "shop")
        assert [each["action"] for each in told] == ["key.created"]
        code, _, err = await tried(tmp_path, url, "--action", "nothing")
        assert (code, "action" in err) == (1, True)
