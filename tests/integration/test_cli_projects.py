"""`timer-trio projects` and `timer-trio keys` over sockets, and `--project` of the others."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.api_under_test import API_KEY, served_api
from tests.command import run_command
from timer_trio.cli import output
from timer_trio.cli.output import print_rows


async def tried(
    folder: Path, url: str, group: str, *arguments: str, key: str = API_KEY, **environ: str
) -> tuple[int, str, str]:
    before, _, more = group.partition(" ")
    options = (before, "--url", url, *more.split(), *arguments)
    ask = partial(run_command, folder, *options, API_KEY=key, **environ)
    return await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run


async def asked(folder: Path, url: str, group: str, *arguments: str, **how: Any) -> str:
    code, out, err = await tried(folder, url, group, *arguments, **how)
    assert (code, err) == (0, "")
    return out


async def test_project_is_created_set_up_and_deleted(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        ask = partial(asked, tmp_path, url, "projects")
        made = json.loads(await ask("create", "shop", "--json"))
        assert (made["name"], made["allowed_hosts"]) == ("shop", None)
        hosts = ("--allowed-host", "example.com", "--allowed-host", "*.example.org")
        retry = ("--default-retry", '{"max_attempts": 3}')
        limit = ("--rate-limit", '{"requests_per_second": 50, "burst": 100}')
        at_once = ("--max-in-flight", "200", "--breaker", '{"failures": 3, "open_seconds": 5}')
        most = ("--max-live-timers", "1000")
        options: tuple[str, ...] = (*hosts, *retry, *limit, *at_once, *most)
        changed = json.loads(await ask("set", "shop", *options, "--json"))
        assert changed["allowed_hosts"] == ["example.com", "*.example.org"]
        assert changed["default_retry"]["max_attempts"] == 3
        assert changed["rate_limit"] == {"requests_per_second": 50, "burst": 100}
        assert changed["max_in_flight"] == 200
        assert changed["breaker"] == {"failures": 3, "open_seconds": 5}
        assert changed["max_live_timers"] == 1000
        assert json.loads(await ask("show", "shop", "--json")) == changed
        nothing = ("default-retry", "rate-limit", "max-in-flight", "breaker", "max-live-timers")
        options = ("--any-host", *(part for name in nothing for part in (f"--{name}", "null")))
        assert json.loads(await ask("set", "shop", *options, "--json")) == made
        assert [line.split("\t")[0] for line in (await ask("list")).splitlines()] == [
            "default",
            "shop",
        ]
        assert json.loads(await ask("list", "--json"))["projects"][1] == made
        assert await ask("delete", "shop", "--force") == "name\tshop\n"
        assert await tried(tmp_path, url, "projects", "show", "shop") == (
            *(1, ""),
            "no project has this name\n",
        )


async def test_key_is_created_listed_and_revoked(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        await api.create_project("shop")
        ask = partial(asked, tmp_path, url, "keys --project shop")
        expiry = ("--expires-at", "2031-01-01T00:00:00Z")
        scopes = ("--scope", "admin", "--scope", "write")
        made = json.loads(await ask("create", "ci", *scopes, *expiry, "--json"))
        (line,) = (await ask("list")).splitlines()
        assert line.split("\t")[:3] == [made["id"], "ci", "write,admin"]
        own = partial(asked, tmp_path, url, "keys", key=made["key"])
        assert len(json.loads(await own("list", "--json"))["keys"]) == 1
        assert json.loads(await asked(tmp_path, url, "keys", "list", "--json")) == {"keys": []}
        assert await ask("revoke", made["id"]) == f"id\t{made['id']}\n"
        code, _, err = await tried(tmp_path, url, "keys", "list", key=made["key"])
        assert (code, "401" in err) == (1, True)
        again = await tried(tmp_path, url, "keys --project shop", "revoke", made["id"])
        assert again == (1, "", "no API key has this id\n")


@pytest.mark.parametrize("group", ["timers", "schedules", "keys"])
async def test_project_is_named_by_an_option_or_the_environment(tmp_path: Path, group: str) -> None:
    async with served_api() as (api, url):
        for how in ({"TIMER_TRIO_PROJECT": "nobody"}, {}):
            named = group if how else f"{group} --project nobody"
            code, _, err = await tried(tmp_path, url, named, "list", **how)
            assert (code, "X-Project: no project has this name" in err) == (1, True)
        await api.create_project("shop")
        assert await asked(tmp_path, url, f"{group} --project shop", "list") == ""


@pytest.mark.parametrize(
    "group",
    [
        *("timers", "schedules", "keys", "bulk", "import"),
        *("flows", "destinations", "pause", "resume"),
    ],
)
def test_whatever_is_in_a_project_can_name_it(tmp_path: Path, group: str) -> None:
    code, out, _ = run_command(tmp_path, group, "--help")
    assert (code, "--project" in out, "TIMER_TRIO_PROJECT" in out) == (0, True, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("projects", "set", "a"), "at least one setting"),
        (("projects", "set", "a", "--any-host", "--allowed-host", "b"), "either --allowed-host"),
        (("projects", "set", "a", "--default-retry", "{"), "--default-retry must be JSON"),
        (("projects", "set", "a", "--breaker", "{"), "--breaker must be JSON"),
        (("projects", "create"), "NAME"),
        (("keys", "create", "a"), "--scope"),
        (("keys", "create", "a", "--scope", "all"), "--scope"),
        (("keys", "--project", "ä", "list"), "no name of a project"),
        (("keys", "revoke"), "ID"),
    ],
)
def test_wrong_command_is_told_before_anybody_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    url = {"TIMER_TRIO_URL": "http://127.0.0.1:1", "API_KEY": API_KEY}
    code, _, err = run_command(tmp_path, *arguments, **url)
    assert (code, words in err) == (2, True), err


def test_table_is_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "shows_tables", lambda: True)
    print_rows([{"name": "a\x1b[0m", "created_at": "now"}], ("name", "created_at"))
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "created", "at"]
    assert r"a\x1b[0m" in line
