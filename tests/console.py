"""Somebody at the console, without a browser: cookies, forms, and what a page holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any, Final

import httpx

from tests.api_under_test import API_KEY, ApiUnderTest

ROOT: Final = "/console"
PAGES: Final = (
    *("", "/timers", "/timers/bulk?action=cancel&status=pending", "/schedules", "/schedules/new"),
    *("/destinations", "/flows", "/projects", "/projects/default", "/keys", "/secrets", "/audit"),
    *("/try",),
)
"""Those that there are without anything to show."""


class Page(HTMLParser):
    """What is of interest in a page: its elements, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]

    @property
    def csrf(self) -> str:
        return self.all("input", name="csrf")[0]["value"]

    @property
    def actions(self) -> set[str]:
        """Where its forms are sent that change something."""
        return {form["action"] for form in self.all("form", method="post")}


class Operator:
    """Who has signed in with a key, or has not yet."""

    def __init__(self, api: ApiUnderTest, host: str = "api", prefix: str = "") -> None:
        self._root = prefix + ROOT
        asgi: Any = api.app
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=asgi, raise_app_exceptions=False),
            base_url=f"http://{host}",
            headers={"Accept": "text/html"},
        )

    async def sign_in(self, key: str = API_KEY, **more: str) -> httpx.Response:
        page = Page((await self.client.get(f"{self._root}/login")).text)
        return await self.post("/login", {"csrf": page.csrf, "key": key, **more})

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(f"{self._root}{path}")

    async def page(self, path: str, status: int = 200) -> Page:
        answer = await self.get(path)
        assert answer.status_code == status, answer.text
        return Page(answer.text)

    async def post(
        self, path: str, form: Mapping[str, str | Sequence[str]], **headers: str
    ) -> httpx.Response:
        return await self.client.post(f"{self._root}{path}", data={**form}, headers=headers)

    async def do(self, path: str, **form: str | Sequence[str]) -> httpx.Response:
        """Send a form of a page that has the token of this session."""
        csrf = (await self.page("/timers")).csrf
        return await self.post(path, {"csrf": csrf, **form})

    async def done(self, path: str, **form: str | Sequence[str]) -> str:
        """Send a form, which leads to another page; answers to which one."""
        answer = await self.do(path, **form)
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"].removeprefix(self._root)


async def operator(api: ApiUnderTest, key: str = API_KEY) -> Operator:
    """Return somebody who has signed in."""
    someone = Operator(api)
    answer = await someone.sign_in(key)
    assert answer.status_code == 303, answer.text
    return someone
