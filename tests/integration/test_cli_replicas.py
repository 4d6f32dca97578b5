"""`timer-trio replicas` over sockets; tests/acceptance has it ask real services."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.api_under_test import API_KEY, ApiUnderTest, served_api
from tests.command import run_command
from tests.contract.timers import ALICE, BOB, seconds
from tests.one_answer import one_answer
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.membership import Identity, ReplicaStats

NOWHERE = "http://127.0.0.1:1"
OLDER = '{"code": 3, "message": "no such route", "data": null}'
WHOLE = '{"code": 0, "message": "success", "data": {"timestamp": "2030-01-01T00:00:00Z"'


def run(folder: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    return run_command(folder, "replicas", *arguments, **({"API_KEY": API_KEY} | environ))


def refusal(folder: Path, answer: str) -> str:
    """What is said to an answer other than the one that is hoped for."""
    with one_answer(answer, b"\r\n\r\n") as (url, requests):
        code, out, err = run(folder, "--url", url + "/")
    assert requests[0].startswith(b"GET /replicas HTTP/1.1\r\n")
    assert f"x-api-key: {API_KEY}" in requests[0].decode().lower()
    assert (code, out) == (2, "")
    return err


async def populate(api: ApiUnderTest) -> None:
    """Let two replicas join: one that answers, and one that has been silent for a minute."""
    identity = Identity(host="machine-7", pid=4711, version="1.2.3")
    await api.storage.join(BOB, api.clock.now() - seconds(120), identity)
    await api.storage.beat(BOB, ReplicaStats(in_flight=2, cached=5, clock_offset_s=-1.5))
    api.clock.advance(60)
    await api.storage.join(ALICE, api.clock.now(), identity)
    await api.storage.beat(ALICE, ReplicaStats())
    api.health.replica_ids = [ALICE]


async def test_table_shows_what_the_service_tells(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        await populate(api)
        ask = partial(run, tmp_path, "--url", url)
        code, out, err = await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run
    assert (code, err) == (0, "")
    _, bob, alice = out.splitlines()
    assert bob.split()[:2] == ["silent", "machine-7:4711"]
    assert bob.endswith("1m ago       -1.500s")
    assert alice.split()[:3] == ["*", "alive", "machine-7:4711"]


async def test_json_is_the_data_as_it_came(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        await populate(api)
        data = (await api.client.get("/replicas")).json()["data"]
        ask = partial(run, tmp_path, "--json", TIMER_TRIO_URL=url)
        code, out, err = await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run
    assert (code, err) == (0, "")
    assert json.loads(out) == data
    assert len(data["replicas"]) == 2


async def test_database_that_is_away_and_wrong_key_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StorageUnavailableError

    async with served_api() as (api, url):
        monkeypatch.setattr(api.storage, "replicas", away)
        for key, words in (
            (API_KEY, "503: the database cannot be reached; try again\n"),
            ("w" * 32, "401: the API key is wrong\n"),
        ):
            ask = partial(run, tmp_path, "--url", url, API_KEY=key)
            answer = await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run
            assert answer == (2, "", f"the service answered {words}")


def test_service_is_found_by_the_settings_and_its_key_in_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api_key").write_text(API_KEY + "\n")
    body = WHOLE + ', "replicas": []}}'
    with one_answer(f"HTTP/1.0 200 OK\r\n\r\n{body}", b"\r\n\r\n") as (url, requests):
        port = url.rpartition(":")[2]
        code, out, _ = run(tmp_path, API_KEY="", HOST="0.0.0.0", PORT=port)  # noqa: S104 - to be turned into where it can be reached
    assert (code, len(out.splitlines())) == (0, 1)
    assert f"x-api-key: {API_KEY}" in requests[0].decode().lower()


def test_key_that_nobody_has_made_is_told(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "--url", NOWHERE, API_KEY="")
    assert (code, "API_KEY is not set" in err) == (2, True)


def test_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "--url", NOWHERE)
    assert (code, out) == (2, "")
    assert err.startswith(f"no answer from the service at {NOWHERE}: ")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://x", "http://[", f"http://{'a' * 64}.example/"]
)
def test_url_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    code, out, err = run(tmp_path, "--url", url)
    assert (code, out) == (2, "")
    assert err.startswith(f"no answer from the service at {url}: ")


def test_older_service_is_told_from_a_stranger(tmp_path: Path) -> None:
    assert "is an older one" in refusal(tmp_path, f"HTTP/1.0 404 Not Found\r\n\r\n{OLDER}")
    for body in ("<html>", "[]", '{"message": "no such route"}', ""):
        text = refusal(tmp_path, f"HTTP/1.0 404 Not Found\r\n\r\n{body}")
        assert text.endswith(" answered 404: it is no timer service, so look at --url\n")


async def test_wrong_path_is_told_from_an_older_service(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        for wrong in (f"{url}/wrong-path", f"{url}/timers/"):
            ask = partial(run, tmp_path, "--url", wrong)
            answer = await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run
            words = f"no timer-trio API at {wrong}: does --url name a path too much?\n"
            assert answer == (2, "", words)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "null",
        '{"code": 0, "data": null}',
        '{"code": 0, "data": {"replicas": []}}',
        WHOLE + ', "replicas": [{"host": "a"}]}}',
        WHOLE.replace("Z", "") + ', "replicas": []}}',
    ],
)
def test_success_of_something_else_is_told_in_words(tmp_path: Path, body: str) -> None:
    text = refusal(tmp_path, f"HTTP/1.0 200 OK\r\n\r\n{body}")
    assert text == "what answered 200 tells of no replicas: it is no timer service\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("hello", "no answer from the service"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{", "no answer from the service"),
        ("HTTP/1.0 301 Moved\r\nLocation: https://x/y\r\n\r\n", "where it leads: https://x/y"),
        ("HTTP/1.0 302 Found\r\n\r\n", "302: it is no timer service"),
        ("HTTP/1.0 502 Bad Gateway\r\n\r\n<html>", "502: a proxy got no answer from the service"),
        ("HTTP/1.0 599 Odd\r\n\r\n<html>", "599: it is no timer service"),
        ("HTTP/1.0 401 Unauthorized\r\n\r\n", "401: it is no timer service"),
    ],
)
def test_answer_that_cannot_be_used_is_told(tmp_path: Path, answer: str, words: str) -> None:
    assert words in refusal(tmp_path, answer)
