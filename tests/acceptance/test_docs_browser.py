"""/docs in a real browser, under a prefix: it draws, leads, tries requests, asks nobody else."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import expect
from psycopg.conninfo import make_conninfo

from tests.acceptance.conftest import as_url
from tests.browser import API_KEY, CHROMIUM, browsing, data_of, serving
from tests.conftest import database
from tests.debian import program

PREFIX: Final = "/tools/timer-trio"
KEY_HINT: Final = "QUxMIFlPVVIgQkFTRSBBUkUgQkVMT05HIFRPIFVT"
"""What the renderer shows in an empty field for a key."""


def test_reader_finds_a_request_and_tries_it(postgres_url: str, template: str) -> None:
    program(CHROMIUM)
    with (
        database(postgres_url, template) as name,
        serving(
            DATABASE_URL=as_url(make_conninfo(postgres_url, dbname=name)), ROOT_PATH=PREFIX
        ) as service,
        browsing() as browser,
    ):
        asked: list[str] = []
        errors: list[str] = []
        page = browser.new_context().new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{service.base_url}{PREFIX}/docs")
        page.get_by_role("link", name="List timers").first.click()
        expect(page.get_by_role("heading", name="List timers")).to_be_visible()
        page.get_by_role("link", name="Create a timer").first.click()
        create = page.get_by_role("region", name="Create a timer").first
        expect(create.get_by_text("callback_url").first).to_be_visible()
        expect(create.get_by_text("required").first).to_be_visible()
        page.get_by_role("button", name="Test Request").first.click()
        trying = page.get_by_role("dialog")
        trying.get_by_placeholder(KEY_HINT).fill(API_KEY)
        trying.get_by_role("button", name="Send post request").click()
        expect(trying.get_by_text("201").first).to_be_visible()
        (timer,) = data_of(service.get("/timers"))["timers"]
        assert timer["callback_url"] == "https://example.com/hooks/reminder"
        web = [url for url in asked if not url.startswith("data:")]
        assert {urlsplit(url).netloc for url in web} == {service.base_url.netloc.decode()}
        assert all(urlsplit(url).path.startswith(f"{PREFIX}/") for url in web), web
        assert errors == []
