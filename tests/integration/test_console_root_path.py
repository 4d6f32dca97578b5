"""The console behind a proxy that has the service under a prefix: nothing in it leads elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urldefrag, urljoin

from tests.api_under_test import API_KEY, SCHEDULE, running_api
from tests.console import Operator, Page
from timer_trio import console

PREFIX: Final = "/tools/timer-trio"
AT_LEAST: Final = 25
"""Pages that lead to each other, those of a list's filters and of one thing among them."""
_LINKS: Final = (("a", "href"), ("link", "href"), ("script", "src"), ("img", "src"))
_OTHERS: Final = (("form", "action"), ("div", "data-live"))


def named(page: Page, kinds: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for tag, attribute in kinds:
        for attributes in page.all(tag):
            place = urldefrag(attributes.get(attribute, "")).url
            if place and not place.startswith(("data:", "https://")):
                yield place


async def test_all_that_pages_name_is_under_the_prefix() -> None:
    async with running_api(pages=console.routes, root_path=PREFIX) as api:
        for _ in range(60):
            await api.create()
        await api.client.post("/schedules", json=SCHEDULE)
        await api.client.put("/flows/a", json={"max_in_flight": 1})
        someone = Operator(api, prefix=PREFIX)
        signed_in = await someone.sign_in(API_KEY)
        assert signed_in.headers["location"] == f"{PREFIX}/console"
        assert f"Path={PREFIX}/console;" in signed_in.headers["set-cookie"]
        seen, waiting = set(), [f"{PREFIX}/", f"{PREFIX}/console", f"{PREFIX}/console/nothing"]
        while waiting:
            at = waiting.pop()
            answer = await someone.client.get(at, follow_redirects=True)
            assert answer.status_code == (404 if at.endswith("nothing") else 200), at
            seen.add(at)
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            page = Page(answer.text)
            links = {urljoin(at, place) for place in named(page, _LINKS)}
            for place in {*links, *(urljoin(at, other) for other in named(page, _OTHERS))}:
                assert place.startswith(f"{PREFIX}/"), (at, place)
            waiting += links - seen - {*waiting}
    assert len(seen) > AT_LEAST
    assert any("cursor=" in place for place in seen)


async def test_actions_lead_back_under_the_prefix() -> None:
    async with running_api(pages=console.routes, root_path=PREFIX) as api:
        someone = Operator(api, prefix=PREFIX)
        away = await someone.get("/timers?status=failed")
        assert away.headers["location"].startswith(f"{PREFIX}/console/login?next=")
        login = Page((await someone.client.get(away.headers["location"])).text)
        (wanted,) = login.all("input", name="next")
        back = await someone.sign_in(API_KEY, next=wanted["value"])
        assert back.headers["location"] == f"{PREFIX}/console/timers?status=failed"
        timer = await api.create()
        canceled = await someone.do(f"/timers/{timer['id']}/cancel")
        assert canceled.headers["location"] == f"{PREFIX}/console/timers/{timer['id']}"
        form = await someone.page("/try")
        assert f"http://api{PREFIX}/console/receiver/" in form.text
        out = await someone.do("/logout")
        assert out.headers["location"] == f"{PREFIX}/console/login"
        assert f"Path={PREFIX}/console" in out.headers["set-cookie"]
        assert (await someone.get("/timers")).status_code == 303
