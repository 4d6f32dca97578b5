"""`timer-trio flows`, `destinations`, `pause` and `resume` over sockets."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from tests.api_under_test import API_KEY, START, served_api
from tests.command import run_command
from tests.integration.test_cli_projects import asked, tried
from timer_trio.domain.destination import NO_DURATIONS, Counted, DestinationReport, Ends
from timer_trio.domain.timer import Destination, Lane, ReplicaId

KEY = "mails/ä b"


async def test_flow_is_limited_paused_resumed_and_deleted(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        ask = partial(asked, tmp_path, url, "flows")
        made = json.loads(await ask("set", KEY, "--max-in-flight", "5", "--json"))
        assert (made["flow_key"], made["max_in_flight"], made["rate"]) == (KEY, 5, None)
        made = json.loads(await ask("set", KEY, "--rate", "100/1m", "--json"))
        assert (made["max_in_flight"], made["rate"]) == (5, {"count": 100, "per_seconds": 60})
        paused = json.loads(await ask("pause", KEY, "--json"))
        assert (paused["paused"], paused["max_in_flight"]) == (True, 5)
        await api.create(flow_key=KEY, delay=0)
        shown = json.loads(await ask("get", KEY, "--json"))
        assert shown == {**paused, "in_flight": 0, "waiting": 1}
        (line,) = (await ask("list")).splitlines()
        assert line.split("\t")[:2] == [KEY, "5"]
        assert json.loads(await ask("list", "--paused", "--json"))["flows"] == [paused]
        assert await ask("list", "--running") == ""
        resumed = json.loads(await ask("resume", KEY, "--json"))
        assert resumed["paused"] is False
        options = ("--max-in-flight", "none", "--rate", "none")
        made = json.loads(await ask("set", KEY, *options, "--json"))
        assert (made["max_in_flight"], made["rate"]) == (None, None)
        assert await ask("delete", KEY) == f"flow_key\t{KEY}\n"
        gone = await tried(tmp_path, url, "flows", "delete", KEY)
        assert gone == (1, "", "no flow has this key\n")


async def test_more_flows_than_a_page_holds_are_listed(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        for number in range(203):
            await api.client.put(f"/flows/{number:03}", json={"max_in_flight": 1})
        listed = await asked(tmp_path, url, "flows", "list", "--limit", "202")
        names = [line.split("\t")[0] for line in listed.splitlines()]
        assert names == [f"{number:03}" for number in range(202)]


async def test_destinations_are_listed(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        replica, lane = ReplicaId(UUID(int=7)), Lane(Destination("https://a.example:443"))
        counted = Counted(lane, START, Ends(delivered=2, timed_out=1), NO_DURATIONS)
        await api.storage.note_destinations(
            DestinationReport(counter=replica, replica=replica, at=START, counted=[counted])
        )
        await api.client.post("/destinations/pause", json={"destination": "https://b.example"})
        ask = partial(asked, tmp_path, url, "destinations", "list")
        first, second = (await ask()).splitlines()
        assert first.split("\t") == [lane.destination, *"0020010", "", "", "", ""]
        assert second.split("\t")[-2:] == ["2030-01-01T00:00:00Z", ""]
        assert (await ask("--limit", "1")).splitlines() == [first]
        one = json.loads(await ask("--destination", "https://B.example", "--json"))
        told = (await api.client.get("/destinations")).json()["data"]["destinations"]
        assert one == {"destinations": told[1:]}


async def test_destination_is_paused_and_resumed(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        ask = partial(asked, tmp_path, url, "destinations")
        where = "https://API.example.com"
        paused = json.loads(await ask("pause", where, "--json"))
        assert (paused["destination"], paused["paused"]) == ("https://api.example.com:443", True)
        assert (await ask("resume", where)).splitlines()[1] == "paused\tfalse"
        (held,) = (await api.storage.rules_since(0)).destinations
        assert held.pause.paused_at is None
        refused = await tried(tmp_path, url, "destinations", "pause", "https://example.com/hook")
        assert (refused[0], "must be scheme, host and port alone" in refused[2]) == (1, True)


async def test_project_is_paused_and_resumed(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        await api.create_project("shop")
        for group, paused in (("pause", True), ("resume", False)):
            told = json.loads(await asked(tmp_path, url, f"{group} --project shop", "--json"))
            assert told["paused"] is paused
            shown = json.loads(await asked(tmp_path, url, "projects", "show", "shop", "--json"))
            assert (shown["paused_since"] is not None) is paused
            default = await asked(tmp_path, url, "projects", "show", "default", "--json")
            assert json.loads(default)["paused_since"] is None
        assert (await asked(tmp_path, url, "pause")).splitlines()[0] == "paused\ttrue"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("flows", "set", "a"), "at least one limit"),
        (("flows", "set", "a", "--max-in-flight", "many"), "no number of callbacks"),
        (("flows", "set", "a", "--max-in-flight", "-1"), "no number of callbacks"),
        (("flows", "set", "a", "--rate", "5"), "N/TIME"),
        (("flows", "set", "a", "--rate", "5/0.5"), "whole seconds"),
        (("flows", "set", "a", "--rate", "5/soon"), "no time such as"),
        (("flows", "set", "a", "--rate", "x/1m"), "no number of callbacks"),
        (("flows", "set"), "KEY"),
        (("flows", "list", "--limit", "0"), "--limit"),
        (("destinations", "pause"), "DESTINATION"),
        (("pause", "--project", "ä"), "no name of a project"),
        (("resume", "all"), "unexpected"),
    ],
)
def test_wrong_command_is_told_before_anybody_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    url = {"TIMER_TRIO_URL": "http://127.0.0.1:1", "API_KEY": API_KEY}
    code, _, err = run_command(tmp_path, *arguments, **url)
    assert (code, words in err) == (2, True), err
