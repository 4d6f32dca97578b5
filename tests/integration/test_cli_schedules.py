"""`timer-trio schedules` over sockets."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.api_under_test import API_KEY, served_api
from tests.command import run_command
from timer_trio.cli import schedule_output
from timer_trio.cli.schedule_output import print_schedules

URL = "https://example.com/hook"
NOBODY = "019bd3c0-0000-7000-8000-000000000000"


def run(folder: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    return run_command(folder, "schedules", *arguments, **({"API_KEY": API_KEY} | environ))


async def tried(folder: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    ask = partial(run, folder, "--url", url, *arguments)
    return await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run


async def asked(folder: Path, url: str, *arguments: str) -> str:
    """What a command prints that the service at this URL does."""
    code, out, err = await tried(folder, url, *arguments)
    assert (code, err) == (0, "")
    return out


async def created(folder: Path, url: str, *arguments: str) -> Any:
    out = await asked(folder, url, "create", "--url", URL, *arguments, "--json")
    return json.loads(out)


async def test_schedule_is_created_shown_paused_and_ended(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        rule = ("--cron", "0 9 * * MON-FRI", "--timezone", "Europe/Berlin")
        beside = ("--name", "daily", "--payload", "[1]", "--metadata", "team=a", "--jitter", "1m")
        made = await created(tmp_path, url, *rule, *beside)
        assert (made["cron"], made["timezone"], made["name"]) == (rule[1], rule[3], "daily")
        assert (made["callback_payload"], made["metadata"], made["jitter_seconds"]) == (
            [1],
            {"team": "a"},
            60.0,
        )
        by_name = json.loads(await asked(tmp_path, url, "get", "--name", "daily", "--json"))
        assert by_name == made
        paused = json.loads(await asked(tmp_path, url, "pause", "--name", "daily", "--json"))
        assert paused["status"] == "paused"
        fields = await asked(tmp_path, url, "resume", made["id"])
        assert dict(line.split("\t") for line in fields.splitlines())["status"] == "active"
        ended = await asked(tmp_path, url, "delete", "--name", "daily")
        assert ended == f"id\t{made['id']}\nstatus\tended\n"


async def test_trigger_and_backfill_make_timers(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        made = await created(tmp_path, url, "--cron", "0 9 * * *")
        timer = json.loads(await asked(tmp_path, url, "trigger", made["id"], "--json"))
        assert (await api.get(timer["id"]))["schedule_id"] == made["id"]
        days = ("--from", "2029-12-01T00:00:00Z", "--to", "2029-12-03T00:00:00Z", "--limit", "1")
        done = json.loads(await asked(tmp_path, url, "backfill", made["id"], *days, "--json"))
        assert done == {"created": 1, "next": "2029-12-02T09:00:00Z"}


async def test_preview_prints_instants(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        rule = ("--every", "1m30s", "--count", "2")
        assert await asked(tmp_path, url, "preview", *rule) == (
            "2030-01-01T00:01:30Z\n2030-01-01T00:03:00Z\n"
        )
        since = ("--from", "2030-02-01T00:00:00Z", "--rrule", "FREQ=MONTHLY;BYMONTHDAY=-1")
        data = json.loads(await asked(tmp_path, url, "preview", *since, "--count", "1", "--json"))
        assert data == {"next": ["2030-02-28T00:00:00Z"]}


async def test_list_goes_through_all_pages_and_filters(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        names = [f"s{n}" for n in range(201)]
        for name in names:
            api.clock.advance(1)
            await api.create_schedule(name=name)
        out = await asked(tmp_path, url, "list", "--limit", "300")
        assert [line.split("\t")[1] for line in out.splitlines()] == names[::-1]
        (line,) = (await asked(tmp_path, url, "list", "--name", "s7")).splitlines()
        assert line.split("\t")[2:5] == ["active", "cron 0 9 * * MON-FRI", "Europe/Berlin"]
        out = await asked(tmp_path, url, "list", "--status", "paused", "--json")
        assert json.loads(out) == {"schedules": []}


async def test_replan_goes_through_all_that_are_active(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        for _ in range(3):
            made = await api.create_schedule()
        assert await asked(tmp_path, url, "replan") == "3 planned anew, 0 occurrences moved\n"
        out = await asked(tmp_path, url, "replan", made["id"], "--json")
        assert json.loads(out) == {"moved": 0}


async def test_replan_that_breaks_off_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_trio.cli.replan.MAX_PAGE", "1")
    async with served_api() as (api, url):
        ids = [(await api.create_schedule())["id"] for _ in range(3)]
        whole, seen = api.storage.change_schedule, []

        async def failing(schedule_id: Any, *others: Any) -> Any:
            seen.append(str(schedule_id))
            if len(seen) == 2:
                raise RuntimeError
            return await whole(schedule_id, *others)

        monkeypatch.setattr(api.storage, "change_schedule", failing)
        code, _, err = await tried(tmp_path, url, "replan", "--json")
        assert code == 1
        assert "1 were planned anew; go on with --cursor " in err
        cursor = err.rpartition("--cursor ")[2].strip().rstrip(")")
        out = await asked(tmp_path, url, "replan", "--cursor", cursor, "--json")
        assert json.loads(out) == {"schedules": 2, "moved": 0}
        assert set(seen) == set(ids)


async def test_refusals_are_told_in_words(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        assert await tried(tmp_path, url, "get", NOBODY) == (1, "", "no schedule has this id\n")
        named = await tried(tmp_path, url, "get", "--name", "nobody")
        assert named == (1, "", "no schedule has this name\n")
        code, _, err = await tried(tmp_path, url, "create", "--url", URL, "--cron", "x")
        assert (code, "cron: " in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "--url", URL), "exactly one of --cron, --every and --rrule"),
        (("preview", "--cron", "x", "--every", "5"), "exactly one of"),
        (("create", "--cron", "x"), "--url"),
        (("get",), "by its ID or by --name"),
        (("pause", NOBODY, "--name", "a"), "by its ID or by --name"),
        (("get", "x"), "UUID"),
        (("backfill", NOBODY, "--from", "1d"), "--to"),
        (("create", "--url", URL, "--every", "5", "--payload", "{"), "--payload"),
    ],
)
def test_wrong_command_is_told_before_anybody_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = run(tmp_path, "--url", "http://127.0.0.1:1", *arguments)
    assert (code, words in err) == (2, True)


async def test_occurrences_are_listed_by_their_schedule(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        made = await api.create_schedule()
        await api.create()
        ask = partial(
            run_command, tmp_path, "timers", "--url", url, "list", "--schedule-id", made["id"]
        )
        code, out, _ = await trio.to_thread.run_sync(  # noqa: TID251 - the API must run
            partial(ask, API_KEY=API_KEY)
        )
        assert (code, len(out.splitlines())) == (0, 1)


def test_table_is_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule_output, "shows_tables", lambda: True)
    monkeypatch.setattr("click.echo", print)  # which leaves colors in what is no terminal
    for with_colors in (False, True):
        monkeypatch.setattr(schedule_output, "shows_colors", lambda shown=with_colors: shown)
        schedule = {"id": "1", "name": "a\x1b[0m", "status": "active", "every": 5.0}
        print_schedules([{**schedule, "next_at": "2030-01-01T00:00:00.5Z"}])
        head, line = capsys.readouterr().out.splitlines()
        assert head.split()[:4] == ["id", "name", "status", "rule"]
        assert ("\x1b[32mactive" in line) is with_colors
        assert r"a\x1b[0m" in line
        assert "2030-01-01 00:00:00" in line


async def test_schedules_of_a_flow_are_created_and_listed(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        made = await created(tmp_path, url, "--every", "1m", "--flow-key", "c 17")
        assert made["flow_key"] == "c 17"
        await api.create_schedule()
        found = json.loads(await asked(tmp_path, url, "list", "--flow-key", "c 17", "--json"))
        assert [schedule["id"] for schedule in found["schedules"]] == [made["id"]]
