"""Who signs in to the console with a key is known on each replica, for as long as the key is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest
import trio

from tests.api_under_test import API_KEY, START, ApiUnderTest, running_api
from tests.console import PAGES, ROOT, Operator, Page, operator
from timer_trio import console
from timer_trio.access.recent import MAX_AGE_S
from timer_trio.api import create_app
from timer_trio.api.auth import WRONG_KEYS
from timer_trio.config import Settings
from timer_trio.console.session import IDLE, LONGEST
from timer_trio.domain.timer import rfc3339
from timer_trio.testing import start_timer_service

HOUR_S = 3600.0
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api(pages=console.routes) as running:
        yield running


def cookie_of(answer: httpx.Response, name: str = "timer_trio_console") -> str:
    (cookie,) = [
        each for each in answer.headers.get_list("set-cookie") if each.startswith(f"{name}=")
    ]
    return cookie


async def is_in(someone: Operator) -> bool:
    status = (await someone.get("/timers")).status_code
    assert status in {200, 303}
    return status == 200


async def test_stranger_is_led_to_the_login_and_back_to_where_he_was(api: ApiUnderTest) -> None:
    someone = Operator(api)
    for path in PAGES:
        answer = await someone.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["Location"] == f"{ROOT}/login?next={quote(ROOT + path, safe='')}"
    login = Page((await someone.client.get(answer.headers["Location"])).text)
    (wanted,) = login.all("input", name="next")
    answer = await someone.sign_in(next=wanted["value"])
    assert answer.headers["Location"] == f"{ROOT}{PAGES[-1]}"


async def test_login_leads_to_no_other_place(api: ApiUnderTest) -> None:
    for wanted in (
        *("//evil.example", "https://evil.example/console", "/console.evil", "/timers"),
        *("\\\\e", "/console/\\e", "/console/\r\nX: y", "/console/ü"),
    ):
        answer = await Operator(api).sign_in(next=wanted)
        assert answer.headers["Location"] == ROOT, wanted


async def test_cookie_is_kept_from_scripts_and_other_sites(api: ApiUnderTest) -> None:
    cookie = cookie_of(await Operator(api).sign_in())
    for flag in ("HttpOnly", "SameSite=Strict", f"Path={ROOT}", f"Max-Age={12 * 3600}"):
        assert flag in cookie.split("; ")
    assert "Secure" not in cookie
    assert API_KEY not in cookie


async def test_cookie_is_secure_behind_tls(api: ApiUnderTest) -> None:
    for said in ("https", "HTTPS, http"):
        someone, headers = Operator(api), {"X-Forwarded-Proto": said}
        login = await someone.client.get(f"{ROOT}/login", headers=headers)
        assert "Secure" in cookie_of(login, "timer_trio_before")
        before = re.search("timer_trio_before=([0-9a-f]+)", login.headers["set-cookie"])
        assert before is not None
        form = {"csrf": Page(login.text).csrf, "key": API_KEY}
        answer = await someone.post("/login", form, Cookie=before[0], **headers)
        assert "Secure" in cookie_of(answer)


async def test_wrong_key_is_refused_and_counted_as_the_api_does(api: ApiUnderTest) -> None:
    someone = Operator(api)
    for key in ("", "wrong", "ü" * 40, "tt_" + "0" * 24 + "_" + "0" * 64, API_KEY + "x"):
        answer = await someone.sign_in(key)
        assert answer.status_code == 401
        assert "set-cookie" in answer.headers
        assert "timer_trio_console" not in answer.headers["set-cookie"]
        assert Page(answer.text).all("div", role="alert")
    statuses = [(await someone.sign_in("wrong")).status_code for _ in range(2 * WRONG_KEYS)]
    assert 429 in statuses
    assert (await someone.sign_in()).status_code == 303


async def test_key_that_may_not_read_does_not_sign_in(api: ApiUnderTest) -> None:
    answer = await Operator(api).sign_in(await api.create_key("metrics"))
    assert answer.status_code == 403
    assert "read" in answer.text


async def test_form_of_another_site_signs_nobody_in(api: ApiUnderTest) -> None:
    other = Page((await Operator(api).client.get(f"{ROOT}/login")).text)
    victim = Operator(api)
    assert (await victim.post("/login", {"csrf": other.csrf, "key": API_KEY})).status_code == 403
    await victim.client.get(f"{ROOT}/login")
    assert (await victim.post("/login", {"csrf": other.csrf, "key": API_KEY})).status_code == 403


async def test_session_ends_when_nobody_has_used_it_for_twelve_hours(api: ApiUnderTest) -> None:
    someone = await operator(api)
    for _ in range(3):
        api.clock.advance(11 * HOUR_S)
        assert await is_in(someone)
    api.clock.advance(IDLE.total_seconds())
    assert not await is_in(someone)


async def test_session_ends_after_a_week_whoever_uses_it(api: ApiUnderTest) -> None:
    someone = await operator(api)
    while api.clock.now() < START + LONGEST:
        assert await is_in(someone)
        api.clock.advance(6 * HOUR_S)
    assert not await is_in(someone)


async def test_page_that_follows_what_happens_keeps_no_session(api: ApiUnderTest) -> None:
    someone = await operator(api)
    api.clock.advance(11 * HOUR_S)
    api.stopping.set()  # so that it ends
    followed = await someone.get("/timers/live")
    assert followed.status_code == 200
    assert "set-cookie" not in followed.headers


async def test_cookie_is_not_sent_with_every_answer(api: ApiUnderTest) -> None:
    someone = await operator(api)
    assert "set-cookie" not in (await someone.get("/timers")).headers
    api.clock.advance(301)
    assert "set-cookie" in (await someone.get("/timers")).headers
    assert "set-cookie" not in (await someone.get("/timers")).headers


async def test_session_ends_with_its_key(api: ApiUnderTest) -> None:
    key = await api.create_key("read")
    someone = await operator(api, key)
    assert await is_in(someone)
    revoked = await api.client.delete(f"/keys/{key.split('_')[1]}")
    assert revoked.status_code == 200
    assert not await is_in(someone)
    assert (await someone.post("/logout", {})).status_code == 401


async def test_session_ends_when_its_key_expires(api: ApiUnderTest) -> None:
    end = rfc3339(START + timedelta(hours=1))
    someone = await operator(api, await api.create_key("read", expires_at=end))
    assert await is_in(someone)
    api.clock.advance(HOUR_S)
    assert not await is_in(someone)


async def test_session_holds_on_each_replica_and_under_no_other_key(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    key = await api.create_key("write")
    someone = await operator(api, key)
    other = ApiUnderTest(storage=api.storage, pages=console.routes)
    there = Operator(other)
    there.client.cookies = someone.client.cookies
    assert await is_in(there)
    assert (
        await there.do("/timers/00000000-0000-0000-0000-000000000000/cancel")
    ).status_code == 404
    await api.client.delete(f"/keys/{key.split('_')[1]}")
    await trio.sleep(MAX_AGE_S)
    assert not await is_in(there)


async def test_another_api_key_ends_all_sessions(api: ApiUnderTest) -> None:
    someone = await operator(api, await api.create_key("read"))
    api.app = create_app(replace(api.context, api_key="x" * 32), console.routes)
    there = Operator(api)
    there.client.cookies = someone.client.cookies
    assert not await is_in(there)


async def test_cookie_that_somebody_edited_is_none(api: ApiUnderTest) -> None:
    someone = await operator(api)
    cookie = someone.client.cookies["timer_trio_console"]
    text, _, seal = cookie.partition(".")
    for wrong in (
        *("", ".", "x", "ü", cookie + "0", text, f"{text}.", f".{seal}", f"{text[:-2]}aa.{seal}"),
        *("a" * 5000, f"{text}.{'0' * 64}", f"{text}.{seal[:-1]}"),
    ):
        there = Operator(api)
        answer = await there.client.get(
            f"{ROOT}/timers", headers={b"Cookie": f"timer_trio_console={wrong}".encode()}
        )
        assert answer.status_code == 303, wrong


async def test_signing_out_takes_the_cookie_away(api: ApiUnderTest) -> None:
    someone = await operator(api)
    assert await someone.done("/logout") == "/login"
    assert not await is_in(someone)


async def test_form_without_the_token_of_its_session_does_nothing(api: ApiUnderTest) -> None:
    someone, timer = await operator(api), await api.create()
    path = f"/timers/{timer['id']}/cancel"
    other = (await (await operator(api)).page("/timers")).csrf
    for csrf in ("", "0" * 64, "ü", other):
        assert (await someone.post(path, {"csrf": csrf})).status_code == 403
    assert (await api.get(timer["id"]))["status"] == "pending"
    await someone.done(path)


async def test_form_that_cannot_be_read_is_refused(api: ApiUnderTest) -> None:
    someone = await operator(api)
    for content, media in (
        (b"{}", "application/json"),
        (b"csrf=%ff", FORM),
        (b"\xff", FORM),
        (b"a=1&" * 200, FORM),
        (b"a" * 300_000, FORM),
        (b"", ""),
    ):
        for path in ("/logout", "/login", "/timers/bulk"):
            answer = await someone.client.post(
                f"{ROOT}{path}", content=content, headers={"Content-Type": media}
            )
            assert 400 <= answer.status_code < 500
            assert answer.headers["content-type"].startswith("text/html")


async def test_whoever_has_api_key_acts_in_the_project_that_he_chooses(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    someone = await operator(api)
    assert await someone.done("/project", project="shop") == ""
    url = "https://example.com/hook"
    await someone.done("/try", delay="9", callback_payload="1", callback_url=url)
    assert (await api.client.get("/timers")).json()["data"]["total"] == 0
    theirs = await api.client.get("/timers", headers={"X-Project": "shop"})
    assert theirs.json()["data"]["total"] == 1
    assert (await someone.do("/project", project="nobody's")).status_code == 400
    deleted = await api.client.delete("/projects/shop?force=true")
    assert deleted.status_code == 200
    assert "default" in (await someone.page("/timers")).text


async def test_key_of_a_project_chooses_no_other(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    someone = await operator(api, await api.create_key("admin"))
    assert (await someone.do("/project", project="shop")).status_code == 400


async def test_console_can_be_switched_off(nursery: trio.Nursery) -> None:
    for is_on in (True, False):
        service = await start_timer_service(nursery, settings=Settings(console=is_on))
        front = await service.client.get("/", headers={"Accept": "text/html"})
        page = await service.client.get(f"{ROOT}/login")
        assert (front.status_code, page.status_code) == ((303, 200) if is_on else (200, 404))
        if is_on:
            assert front.headers["Location"] == ROOT
        assert (await service.client.get("/")).json()["data"]["name"] == "timer-trio"
