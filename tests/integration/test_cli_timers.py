"""`timer-trio timers` over sockets."""

from __future__ import annotations

import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from tests.api_under_test import API_KEY, ApiUnderTest, served_api
from tests.command import run_command
from tests.one_answer import one_answer
from timer_trio.cli.timer_output import print_list
from timer_trio.cli.timers import list_command
from timer_trio.domain.errors import CreateUnknownError
from timer_trio.domain.query import TimerFilter
from timer_trio.domain.timer import Destination, Status, TimerId

TIMER_ID = "019bd3c0-0000-7000-8000-000000000000"
NOWHERE = "http://127.0.0.1:1"
URL = "https://example.com/hook"


def run(folder: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    return run_command(folder, "timers", *arguments, **({"API_KEY": API_KEY} | environ))


async def asked(folder: Path, url: str, *arguments: str) -> str:
    """What a command prints that the service at this URL does."""
    code, out, err = await tried(folder, url, *arguments)
    assert (code, err) == (0, "")
    return out


async def tried(folder: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    ask = partial(run, folder, "--url", url, *arguments)
    return await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run


async def created(folder: Path, url: str, *arguments: str) -> Any:
    """Create a timer by the command; answers with what the API tells of it."""
    out = await asked(folder, url, "create", "--url", URL, *arguments, "--json")
    return json.loads(out)


async def failed(api: ApiUnderTest, last_error: str, **fields: object) -> str:
    timer_id: str = (await api.create(**fields))["id"]
    await api.begin(timer_id)
    await api.end(timer_id, Status.FAILED, last_error)
    return timer_id


def test_help_names_each_filter_that_needs_a_bound() -> None:
    asked = TimerFilter(destination=Destination("x"), last_error="x", http_status=500, key="x")
    words = list_command.help or ""
    assert [name for name in asked.unindexed if f"--{name.replace('_', '-')}" not in words] == []


async def test_timer_is_created_shown_and_canceled(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        out = await asked(tmp_path, url, "create", "--url", URL, "--in", "5m")
        fields = dict(line.split("\t") for line in out.splitlines())
        assert fields["status"] == "pending"
        assert fields["execute_at"] == "2030-01-01T00:05:00Z"
        assert fields["executed_at"] == ""
        shown = await asked(tmp_path, url, "get", fields["id"], "--json")
        assert json.loads(shown) == await api.get(fields["id"])
        gone = await asked(tmp_path, url, "cancel", fields["id"])
        assert gone == f"id\t{fields['id']}\nstatus\tcanceled\n"
        assert (await api.get(fields["id"]))["status"] == "canceled"


async def test_each_field_of_a_timer_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text('{"b": 1, "a": [1e2, "é"]}')
    options = [
        *("--at", "2030-02-01T00:00:00+01:00", "--payload", "@payload.json", "--method", "PUT"),
        *("--header", "A: b: c", "--header", "X-Y:z", "--metadata", "customer=c=17"),
        *("--timeout", "1.5s", "--delivery", "at_most_once", "--misfire-grace", "2h"),
        *("--key", "n", "--on-conflict", "replace", "--store-response", "all"),
        *("--flow-key", "customer-c-17"),
        *("--on-completed", f"{URL}/done", "--on-failed", f"{URL}/lost"),
    ]
    async with served_api() as (api, url):
        timer = await api.get((await created(tmp_path, url, *options))["id"])
    assert timer["execute_at"] == "2030-01-31T23:00:00Z"
    assert timer["callback_payload"] == {"b": 1, "a": [100.0, "é"]}
    assert timer["callback_method"] == "PUT"
    assert timer["callback_headers"] == {"A": "b: c", "X-Y": "z"}
    assert timer["metadata"] == {"customer": "c=17"}
    assert (timer["timeout_seconds"], timer["misfire_grace_seconds"]) == (1.5, 7_200.0)
    assert timer["delivery"] == "at_most_once"
    assert (timer["key"], timer["store_response"]) == ("n", "all")
    assert timer["flow_key"] == "customer-c-17"
    assert timer["on_completed"]["url"] == f"{URL}/done"
    assert timer["on_failed"]["url"] == f"{URL}/lost"


async def test_what_is_left_out_is_as_the_service_has_it(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        timer = await api.get((await created(tmp_path, url, "--in", "0"))["id"])
        assert (timer["misfire_grace_seconds"], timer["callback_payload"]) == (300.0, None)
        options = ("--in", "1d2h3m4.5s", "--misfire-grace", "none", "--payload", "null")
        timer = await api.get((await created(tmp_path, url, *options))["id"])
        assert timer["misfire_grace_seconds"] is None
        assert timer["execute_at"] == "2030-01-02T02:03:04.500000Z"


async def test_failed_timer_is_looked_at_and_redriven(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        timer_id = await failed(api, "HTTP 503 from https://example.com")
        assert await asked(tmp_path, url, "attempts", timer_id) == ""
        assert json.loads(await asked(tmp_path, url, "attempts", timer_id, "--json")) == {
            "attempts": []
        }
        await asked(tmp_path, url, "redrive", timer_id, "--in", "5m")
        data = await api.get(timer_id)
        assert (data["status"], data["execute_at"]) == ("pending", "2030-01-01T00:05:00Z")
        code, out, err = await tried(tmp_path, url, "redrive", timer_id)
        assert (code, out) == (1, "")
        assert "cannot redrive timer with status 'pending'" in err


async def test_attempts_for_a_program_are_lines_of_cells(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        timer_id = (await api.create())["id"]
        await api.begin(timer_id)
        await api.end(timer_id, Status.COMPLETED)
        out = await asked(tmp_path, url, "attempts", timer_id)
        assert out.split("\t")[0::3] == ["1", "delivered"]


async def test_policy_and_name_can_be_given(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        made = ("--in", "5m", "--retry", '{"max_attempts": 2}', "--key", "nightly")
        timer_id = (await created(tmp_path, url, *made))["id"]
        data = await api.get(timer_id)
        assert (data["key"], data["retry"]["max_attempts"]) == ("nightly", 2)
        code, _, err = await tried(
            tmp_path, url, "create", "--url", URL, "--in", "1", "--retry", "{"
        )
        assert (code, "--retry is no JSON" in err) == (2, True)


async def test_number_of_any_size_goes_through(tmp_path: Path) -> None:
    digits = "1" * 5_000
    before = sys.get_int_max_str_digits()
    async with served_api() as (_, url):
        timer = await created(tmp_path, url, "--in", "1", "--payload", digits)
        shown = await asked(tmp_path, url, "get", timer["id"])
        assert f"callback_payload\t{digits}\n" in shown
        assert digits in await asked(tmp_path, url, "get", timer["id"], "--json")
    assert sys.get_int_max_str_digits() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--in", "1", "--at", "2030-01-01T00:00:00Z"], "name exactly one of --in and --at"),
        ([], "name exactly one of --in and --at"),
        (["--in", "soon"], "'soon' is no time such as 90, 1.5s, 5m, 1h30m or 7d"),
        (["--in", ""], "'' is no time"),
        (["--in", "-1"], "'-1' is no time"),
        (["--in", "1", "--payload", "hello"], "--payload is no JSON; text needs quotes"),
        (["--in", "1", "--payload", "NaN"], "--payload is no JSON"),
        (["--in", "1", "--payload", "1}, {"], "--payload is no JSON"),
        (["--in", "1", "--payload", "[" * 100_000], "--payload is no JSON"),
        (["--in", "1", "--payload", "@none.json"], "none.json: No such file or directory"),
        (["--in", "1", "--header", "A"], "--header must be NAME:VALUE: 'A' is not"),
        (["--in", "1", "--metadata", "=1"], "--metadata must be NAME=VALUE"),
        (["--in", "1", "--metadata", "a=1", "--metadata", "a=2"], "names 'a' twice"),
        (["--in", "1", "--delivery", "maybe"], "'maybe' is not one of"),
        (["--in", "1", "--misfire-grace", "never"], "'never' is no time"),
    ],
)
def test_option_that_makes_no_timer_is_told(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, out, err = run(tmp_path, "--url", NOWHERE, "create", "--url", URL, *arguments)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())


def test_payload_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(b"\xff")
    code, _, err = run(tmp_path, "create", "--url", URL, "--in", "1", "--payload", "@payload")
    assert (code, "payload is not UTF-8" in err) == (2, True)


async def test_what_the_service_refuses_is_told_in_a_line(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        create = ("create", "--url", "ftp://x", "--in", "1")
        assert await tried(tmp_path, url, *create) == (
            *(1, ""),
            "the service answered 400: callback_url: must begin with http:// or https://\n",
        )
        for command in ("get", "cancel"):
            code, out, err = await tried(tmp_path, url + "/", command, TIMER_ID)
            assert (code, out) == (1, "")
            assert err == "no timer has this id\n"
        ended = await failed(api, "no")
        code, _, err = await tried(tmp_path, url, "cancel", ended)
        assert (code, "cannot cancel timer with status 'failed'\n" in err) == (1, True)
        code, _, err = await tried(tmp_path, url, "list", "--last-error", "x")
        assert (code, "last_error: has no index, so it needs a bound of time" in err) == (1, True)
        code, _, err = await tried(tmp_path, url, "list", "--last-error", "")
        assert (code, "last_error: must not be empty" in err) == (1, True)


async def test_create_of_which_nobody_knows_names_its_timer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served_api() as (api, url):

        async def lose(*_: object, **__: object) -> None:
            raise CreateUnknownError(TimerId(UUID(TIMER_ID)))

        monkeypatch.setattr(api.intake, "create", lose)
        code, _, err = await tried(tmp_path, url, "create", "--url", URL, "--in", "1")
    assert code == 1
    assert err.endswith(f"get its id before posting again: {TIMER_ID}\n")


async def test_path_before_the_api_spoils_no_words(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        for command, path in (("list", "wrong"), ("get", "timers")):
            arguments = (TIMER_ID,) if command == "get" else ()
            code, _, err = await tried(tmp_path, f"{url}/{path}", command, *arguments)
            words = f"no timer-trio API at {url}/{path}: does --url name a path too much?\n"
            assert (code, err) == (1, words)


def test_id_that_is_none_asks_nobody(tmp_path: Path) -> None:
    for command in ("get", "cancel"):
        code, _, err = run(tmp_path, "--url", NOWHERE, command, "../metrics")
        assert (code, "is not a valid UUID" in err) == (2, True)


@pytest.mark.parametrize(
    ("answer", "is_unknown"),
    [
        ("HTTP/1.0 200 OK\r\n\r\n<html>", False),
        ("HTTP/1.0 404 Not Found\r\n\r\n<html>", False),
        ("HTTP/1.0 502 Bad Gateway\r\n\r\n<html>", True),
        ("HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{", True),
    ],
)
def test_answer_of_something_else_is_told(tmp_path: Path, answer: str, *, is_unknown: bool) -> None:
    create = ("create", "--url", URL, "--in", "1")
    with one_answer(answer, b"}") as (url, _):
        code, out, err = run(tmp_path, *create, TIMER_TRIO_URL=url)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert ("it may have been done all the same" in err) is is_unknown


def test_service_that_is_not_there_has_done_nothing(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "--url", NOWHERE, "create", "--url", URL, "--in", "1")
    assert (code, out) == (2, "")
    assert err.startswith(f"no answer from the service at {NOWHERE}: ")
    assert "done" not in err


@pytest.mark.parametrize(
    "data",
    [
        "{}",
        '{"timers": [1], "next_cursor": null}',
        '{"timers": 1, "next_cursor": null}',
        '{"timers": []}',
    ],
)
def test_list_that_is_none_is_told(tmp_path: Path, data: str) -> None:
    answer = f'HTTP/1.0 200 OK\r\n\r\n{{"code": 0, "message": "", "data": {data}}}'
    with one_answer(answer, b"\r\n\r\n") as (url, _):
        code, _, err = run(tmp_path, "--url", url, "list")
    assert (code, err) == (2, "what answered lists no timers: it is no timer service\n")


async def test_list_for_a_program_is_a_line_of_cells_for_each_timer(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        first = await failed(api, "a\tb\x1b[31m\nc")
        api.clock.advance(1)
        second = (await api.create())["id"]
        lines = (await asked(tmp_path, url, "list")).splitlines()
    assert [line.split("\t") for line in lines] == [
        [second, "pending", "2030-01-01T00:01:01Z", "0", "https://example.com:443", ""],
        [
            *(first, "failed", "2030-01-01T00:01:00Z", "1", "https://example.com:443"),
            r"a\tb\x1b[31m\nc",
        ],
    ]


async def test_json_is_one_document_with_all_that_lists_tell(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        await api.create(metadata={"customer": "é"})
        out = await asked(tmp_path, url, "list", "--json")
        page = (await api.client.get("/timers")).json()["data"]
    assert json.loads(out) == {"timers": page["timers"]}


async def test_list_follows_the_pages_up_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_trio.cli.asking.MAX_PAGE", 3)
    async with served_api() as (api, url):
        ids = [(await api.create(delay=n))["id"] for n in range(8)]
        order = ("--sort", "execute_at", "--order", "asc")
        for limit in (2, 3, 7, 8, 1_000):
            out = await asked(tmp_path, url, "list", *order, "--limit", str(limit))
            assert [line.split("\t")[0] for line in out.splitlines()] == ids[:limit]
        assert await asked(tmp_path, url, "list", "--status", "failed") == ""


async def test_each_filter_reaches_the_service(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        wanted = await failed(api, "timed out after 30s", metadata={"customer": "c-17"})
        api.clock.advance(100)
        await failed(api, "HTTP 503", callback_url="https://example.org/", delay=600)
        early, late = "2029-12-31T23:00:00Z", "2030-01-01T02:01:10+02:00"
        filters: dict[str, list[str]] = {
            "destination": ["--destination", "https://example.com", "--created-after", early],
            "last_error": ["--last-error", "timed out", "--created-after", early],
            "metadata": ["--metadata", "customer=c-17"],
            "created": ["--created-before", late, "--created-after", early],
            "execute": ["--execute-before", late, "--execute-after", early],
            "ended": ["--ended-before", late, "--ended-after", early, "--status", "failed"],
        }
        for options in filters.values():
            out = await asked(tmp_path, url, "list", *options)
            assert [line.split("\t")[0] for line in out.splitlines()] == [wanted], options


async def test_bound_may_be_how_long_ago_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served_api() as (api, url):
        monkeypatch.setattr("timer_trio.cli.values._now", api.clock.now)
        await api.create()
        api.clock.advance(3 * 3_600)
        wanted = (await api.create())["id"]
        api.clock.advance(60)
        out = await asked(tmp_path, url, "list", "--created-after", "1h30m")
        assert [line.split("\t")[0] for line in out.splitlines()] == [wanted]
        code, _, err = await tried(tmp_path, url, "list", "--created-after", "7")
        assert (code, "created_after: must be an RFC 3339 timestamp" in err) == (1, True)
    code, _, err = run(tmp_path, "--url", NOWHERE, "list", "--created-after", "999999999d")
    assert (code, "longer ago than the calendar goes back" in err) == (2, True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


LISTED: list[dict[str, object]] = [
    {
        "id": "019bd3c0",
        "status": "failed",
        "execute_at": "2030-01-01T01:00:00.5+01:00",
        "attempt": 12,
        "destination": "https://example.com:443",
        "last_error": "HTTP 503\x1b[2J",
    },
    {"id": "019bd3c1", "status": "pending", "execute_at": "soon"},
]


@pytest.mark.parametrize(
    ("environ", "is_colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_table_for_people_is_aligned_and_colored_unless_they_object(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, is_colored: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_list(LISTED)
    red, plain = ("\x1b[31m", "\x1b[0m") if is_colored else ("", "")
    rest = r"https://example.com:443  HTTP 503\x1b[2J"
    assert terminal.getvalue().splitlines() == [
        "id        status   execute at (UTC)     attempt  destination              last error",
        f"019bd3c0  {red}failed {plain}  2030-01-01 00:00:00       12  {rest}",
        "019bd3c1  pending  soon",
    ]


async def test_timers_of_a_flow_are_listed(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        made = await created(tmp_path, url, "--in", "5m", "--flow-key", "c 17")
        await api.create()
        assert "flow_key\tc 17" in (await asked(tmp_path, url, "get", made["id"])).splitlines()
        found = json.loads(await asked(tmp_path, url, "list", "--flow-key", "c 17", "--json"))
        assert [timer["id"] for timer in found["timers"]] == [made["id"]]
