"""Pages follow what happens; the receiver that is built in shows what arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from html import unescape

import httpx
import pytest
import trio
import trio.testing

from tests.api_under_test import API_KEY, ApiUnderTest, running_api, served_api
from tests.console import ROOT, Operator, Page, operator
from timer_trio import console
from timer_trio.console import live
from timer_trio.console.receiver import (
    KEPT,
    MOST_BYTES,
    Answers,
    Arrived,
    address_of,
    read_back,
    told_of,
)
from timer_trio.console.session import Sealer
from timer_trio.console.visit import RefusedError
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.project import DEFAULT_PROJECT

PATIENCE_S = 30  # for a busy machine; nothing here waits for it


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "INTERVAL_S", 0.01)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[ApiUnderTest, Operator]]:
    """Serve an API on a socket, and sign in there: what goes on must be read as it comes."""
    async with served_api(pages=console.routes) as (api, url):
        someone = Operator(api)
        someone.client = httpx.AsyncClient(base_url=url, headers={"Accept": "text/html"})
        assert (await someone.sign_in()).status_code == 303
        with trio.fail_after(PATIENCE_S):
            yield api, someone
        await someone.client.aclose()


class Followed:
    """What is shown of a page, read as it comes from a connection of its own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._read = b""

    async def status(self) -> int:
        return int((await self._line()).split()[1])

    async def __call__(self) -> str:
        """Return the next part that is shown."""
        data: list[str] = []
        while True:
            line = await self._line()
            if line.startswith("data: "):
                data.append(line.removeprefix("data: "))
            elif data and not line:
                return "\n".join(data)

    async def _line(self) -> str:
        while b"\n" not in self._read:
            part = await self._stream.receive_some()
            if not part:
                raise EOFError
            self._read += part
        line, _, self._read = self._read.partition(b"\n")
        if line == b"0\r":  # the chunk that ends an answer
            raise EOFError
        return line.removesuffix(b"\r").decode()


@asynccontextmanager
async def followed(someone: Operator, path: str, status: int = 200) -> AsyncIterator[Followed]:
    """Follow a page."""
    url = someone.client.base_url
    cookie = someone.client.cookies["timer_trio_console"]
    async with await trio.open_tcp_stream(url.host, url.port or 0) as stream:
        head = f"GET {ROOT}{path}/live HTTP/1.1\r\nHost: x\r\nCookie: timer_trio_console={cookie}"
        await stream.send_all(f"{head}\r\n\r\n".encode())
        shown = Followed(stream)
        assert await shown.status() == status
        yield shown


async def test_list_follows_what_happens() -> None:
    async with served() as (api, someone), followed(someone, "/timers") as shown:
        assert "There is no timer yet" in await shown()
        timer = await api.create()
        assert timer["id"] in await shown()
        await api.client.delete(f"/timers/{timer['id']}")
        assert ">canceled<" in await shown()


async def test_what_is_followed_shows_what_the_page_does() -> None:
    async with served() as (api, someone):
        timer, schedule = await api.create(), await api.create_schedule()
        await api.client.put("/flows/f", json={"max_in_flight": 1})
        for path in ("", "/timers", f"/timers/{timer['id']}", "/schedules", "/destinations",
                     f"/schedules/{schedule['id']}", "/flows", f"/try/{timer['id']}"):  # fmt: skip
            async with followed(someone, path) as shown:
                assert await shown() in (await someone.get(path)).text


async def test_no_more_are_followed_than_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_OF_ONE", 2)
    async with served() as (api, someone):
        other = Operator(api)
        other.client = httpx.AsyncClient(base_url=someone.client.base_url)
        await other.sign_in(await api.create_key("read"))
        async with followed(someone, "/timers") as first, followed(someone, "/timers") as second:
            await first(), await second()
            assert (await someone.get("/timers/live")).status_code == 503
            async with followed(other, "/timers") as shown:
                await shown()
                monkeypatch.setattr(live, "MOST", 3)
                assert (await other.get("/timers/live")).status_code == 503
        await other.client.aclose()
        monkeypatch.setattr(live, "LIFE_S", 0)
        while (await someone.get("/timers/live")).status_code != 200:
            pass  # until the server has noticed that they have left


async def test_what_is_followed_ends_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LIFE_S", 0.05)
    async with served() as (_, someone), followed(someone, "/timers") as shown:
        await shown()
        with pytest.raises(EOFError):
            await shown()


async def test_what_is_followed_ends_with_the_service_and_the_key() -> None:
    async with served() as (api, someone):
        key = await api.create_key("read")
        reader = Operator(api)
        reader.client = httpx.AsyncClient(base_url=someone.client.base_url)
        await reader.sign_in(key)
        async with followed(reader, "/timers") as shown:
            await shown()
            await api.client.delete(f"/keys/{key.split('_')[1]}")
            with pytest.raises(EOFError):
                await shown()
        async with followed(someone, "/timers") as shown:
            await shown()
            api.stopping.set()
            with pytest.raises(EOFError):
                await shown()
        await reader.client.aclose()


async def test_what_was_shown_stays_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served() as (api, someone), followed(someone, "/timers") as shown:
        await shown()
        listing, asked = api.storage.list, trio.Event()

        async def away(_: object) -> None:
            asked.set()
            raise StorageUnavailableError("gone")

        monkeypatch.setattr(api.storage, "list", away)
        await asked.wait()
        monkeypatch.setattr(api.storage, "list", listing)
        timer = await api.create()
        assert timer["id"] in await shown()


async def test_what_is_not_there_is_looked_for_no_more_often(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del autojump_clock
    monkeypatch.setattr(live, "INTERVAL_S", 2)
    monkeypatch.setattr(live, "LIFE_S", 9)
    looked_at_s = []

    async def look() -> str:
        looked_at_s.append(trio.current_time() - began_s)
        assert len(looked_at_s) < 9, looked_at_s
        raise RefusedError(404, "gone")

    began_s = trio.current_time()
    async with live.LiveBody(live.Live(trio.Event()), look, (DEFAULT_PROJECT, None)) as body:
        sent = [part async for part in body]
    assert looked_at_s == [0, 2, 4, 6, 8]
    assert sent[0].startswith(b"retry: ")


async def test_receiver_shows_what_arrived() -> None:
    async with running_api(pages=console.routes) as api:
        someone = await operator(api)
        form = {"delay": "5", "callback_payload": '{"n": [1, "ü"]}', "callback_url": ""}
        path = await someone.done("/try", **form, answers="twice")
        timer = await api.get(path.rpartition("/")[2])
        assert timer["callback_url"].startswith(f"http://api{ROOT}/receiver/")
        assert (timer["retry"]["max_attempts"], timer["store_response"]) == (3, "all")
        for attempt, status in ((1, 503), (2, 503), (3, 200)):
            headers = {"X-Timer-Attempt": f"{attempt}", "X-Timer-Id": timer["id"]}
            body = b'{"n": [1, "\xc3\xbc"]}'
            answer = await httpx.AsyncClient(transport=someone.client._transport).post(
                timer["callback_url"], content=body, headers=headers
            )
            assert answer.status_code == status
            told = read_back({"body": answer.text, "body_encoding": "utf-8"})
            assert told is not None
            assert told["body"] == body.decode()
            assert ("x-timer-id", timer["id"]) in [(n.lower(), v) for n, v in told["headers"]]


async def test_address_that_the_service_has_not_given_out_is_nobodys() -> None:
    async with running_api(pages=console.routes) as api:
        stranger, sealer, now = Operator(api), Sealer(API_KEY), api.clock.now()
        good = address_of(Answers.OK, now, sealer)
        assert (await stranger.post(f"/receiver/{good}", {})).status_code == 200
        answers, until, seal = good.split(".")
        for wrong in (
            *("x", "a" * 9000, f"{good}0", f"never.{until}.{seal}"),
            f"{answers}.{int(until) + 1}.{seal}",
            address_of(Answers.OK, now, Sealer("x" * 32)),
        ):
            assert (await stranger.post(f"/receiver/{wrong}", {})).status_code == 404
        huge = await stranger.client.post(f"{ROOT}/receiver/{good}", content=b"x" * 300_000)
        assert huge.status_code == 413
        api.clock.advance((KEPT + timedelta(seconds=1)).total_seconds())
        assert (await stranger.post(f"/receiver/{good}", {})).status_code == 404


@pytest.mark.parametrize(
    "arrived",
    [
        Arrived("POST", [], b""),
        Arrived("POST", [("X", "y" * 20_000)] * 9, b"z" * 100_000),
        Arrived("POST", [("X-Ü", "\udcff")], b"\xff" * 9_000),
        Arrived("POST", [("a", "b")], b'"\\"' * 5_000),
        Arrived("POST", [("a", "b")], "🎈".encode() * 5_000),
    ],
)
def test_what_is_told_of_what_arrived_is_kept_as_a_whole(arrived: Arrived) -> None:
    told = told_of(arrived)
    assert len(told) <= MOST_BYTES
    back = read_back({"body": told.decode(), "body_encoding": "utf-8"})
    assert back is not None
    assert back["method"] == "POST"
    assert arrived.body.decode(errors="replace").startswith(back["body"])
    assert back["truncated"] is (len(arrived.body) > 100)


@pytest.mark.parametrize(
    "body",
    [
        *("", "x", "[]", "{}", "[" * 9999, '{"received": 1}'),
        '{"received": {"method": [], "headers": 1}}',
        '{"received": {"method": "<b>", "headers": [["a"]], "body": "", "truncated": false}}',
    ],
)
def test_answer_of_another_receiver_is_no_arrival(body: str) -> None:
    assert read_back({"body": body, "body_encoding": "utf-8"}) is None
    assert read_back({"body": "e30=", "body_encoding": "base64"}) is None
    assert read_back(None) is None


async def test_trial_that_is_refused_says_why() -> None:
    async with running_api(pages=console.routes) as api:
        someone = await operator(api)
        for form, words in (
            ({"delay": "soon", "callback_payload": "1"}, "must be a number"),
            ({"delay": "1", "callback_payload": "{"}, "is no JSON"),
            ({"delay": "-1", "callback_payload": "1"}, "must not be negative"),
            (
                {"delay": "1", "callback_payload": "1", "callback_url": "http://10.0.0.1/"},
                "private",
            ),
        ):
            answer = await someone.do("/try", **form, answers="ok")
            assert answer.status_code == 400, form
            assert words in unescape(Page(answer.text).text)
