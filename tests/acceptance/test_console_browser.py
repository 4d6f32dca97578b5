"""The console in a real browser, on a real service: a stranger's way, each page, each action."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, StorageState, expect
from psycopg.conninfo import make_conninfo

from tests.acceptance.conftest import as_url
from tests.browser import (
    API_KEY,
    CHROMIUM,
    barriers,
    browsing,
    data_of,
    serving,
    sign_in,
)
from tests.conftest import database
from tests.debian import program
from tests.sampling import is_sampled

NEXT_YEAR_S: Final = 86_400 * 365
URL: Final = "http://127.0.0.1:9/nobody"
"""Where nobody listens."""
PREFIX: Final = "/tools/timer-trio"


@pytest.fixture(scope="module")
def service(postgres_url: str, template: str) -> Iterator[httpx.Client]:
    with (
        database(postgres_url, template) as name,
        serving(DATABASE_URL=as_url(make_conninfo(postgres_url, dbname=name))) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program(CHROMIUM)
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(browser: Browser, service: httpx.Client) -> StorageState:
    """What the browser of somebody holds who has signed in."""
    context = browser.new_context()
    sign_in(context.new_page(), str(service.base_url))
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(browser: Browser, service: httpx.Client, signed_in: StorageState) -> Iterator[Page]:
    """A page of somebody who has signed in; nothing in it may fail, and no policy be broken."""
    context = browser.new_context(base_url=str(service.base_url), storage_state=signed_in)
    page = context.new_page()
    errors: list[str] = []

    def note(said: ConsoleMessage) -> None:
        # A form that is refused is told so as well.
        if said.type == "error" and not said.text.startswith("Failed to load resource"):
            errors.append(said.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", note)
    yield page
    context.close()
    assert errors == []


def create(service: httpx.Client, **fields: Any) -> str:
    wanted = {"delay": NEXT_YEAR_S, "callback_url": URL, **fields}
    return str(data_of(service.post("/timers", json=wanted))["id"])


@pytest.mark.parametrize("prefix", [pytest.param("", marks=pytest.mark.soak), PREFIX])
def test_stranger_comes_from_the_root_to_his_first_timer_and_its_attempts(
    browser: Browser, postgres_url: str, template: str, prefix: str
) -> None:
    with (
        database(postgres_url, template) as name,
        serving(
            DATABASE_URL=as_url(make_conninfo(postgres_url, dbname=name)), ROOT_PATH=prefix
        ) as service,
    ):
        create_a_first_timer(browser, f"{service.base_url}{prefix}")


def create_a_first_timer(browser: Browser, url: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}/")
    expect(page).to_have_url(re.compile("/console/login"))
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("API key").fill(API_KEY)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Try it").click()
    page.get_by_label("Seconds from now").fill("0.5")
    page.get_by_label("The receiver answers").select_option("ok")
    page.get_by_label("Payload, JSON").fill('{"hello": "<b>you</b>"}')
    page.get_by_role("button", name="Create the timer").click()
    expect(page.get_by_text("What arrived")).to_be_visible()
    expect(page.locator("pre")).to_contain_text('{"hello": "<b>you</b>"}')
    expect(page.locator("pre")).to_contain_text(re.compile("x-timer-attempt: 1", re.IGNORECASE))
    page.get_by_role("link", name="The timer", exact=True).click()
    happened = page.get_by_role("region", name="What happened")
    expect(happened).to_contain_text("attempt 1 delivered 200")
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{url}/console/timers")
    expect(page).to_have_url(re.compile("/console/login"))
    context.close()


def test_list_is_live_and_can_be_stopped(page: Page, service: httpx.Client) -> None:
    page.goto("/console/timers?metadata.live=yes")
    expect(page.get_by_text("No timer is found")).to_be_visible()
    timer = create(service, metadata={"live": "yes"})
    row = page.get_by_role("row").filter(has_text=timer)
    expect(row).to_contain_text("pending")
    data_of(service.delete(f"/timers/{timer}"))
    expect(row).to_contain_text("canceled")
    live = page.get_by_role("button", name="Live")
    live.click()
    stopped = page.get_by_role("button", name="Stopped")
    expect(stopped).to_have_attribute("aria-pressed", "false")
    stopped.click()
    expect(live).to_have_attribute("aria-pressed", "true")


def test_timer_is_changed_run_canceled_and_redriven(page: Page, service: httpx.Client) -> None:
    timer = create(service, metadata={"a": 1}, callback_payload={"n": 1})
    page.goto(f"/console/timers/{timer}")
    page.get_by_role("link", name="Change…").click()
    page.get_by_label("Payload, JSON").fill('{"n": 2')
    page.get_by_role("button", name="Change this timer").click()
    expect(page.get_by_role("alert")).to_contain_text("is no JSON")
    page.get_by_label("Payload, JSON").fill('{"n": 2}')
    page.get_by_role("button", name="Change this timer").click()
    expect(page.get_by_role("region", name="What is sent")).to_contain_text('"n": 2')
    page.get_by_text("Cancel…").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Cancel this timer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Cancel this timer")).to_be_hidden()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cancel this timer").click()
    expect(page.locator(".lead")).to_contain_text("canceled")
    page.get_by_role("button", name="Redrive now").click()
    expect(page.locator(".lead")).to_contain_text("failed")
    expect(page.get_by_role("region", name="What happened")).to_contain_text("unreachable")
    assert data_of(service.get(f"/timers/{timer}"))["callback_payload"] == {"n": 2}
    waiting = create(service)
    page.goto(f"/console/timers/{waiting}")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".lead")).to_contain_text("failed")


def test_many_are_counted_first_and_progress_is_shown(page: Page, service: httpx.Client) -> None:
    many = 1_200
    timers = [
        {"delay": NEXT_YEAR_S, "callback_url": URL, "metadata": {"bulk": "yes"}}
        for _ in range(many)
    ]
    data_of(service.post("/timers/batch", json={"timers": timers[:1_000]}))
    data_of(service.post("/timers/batch", json={"timers": timers[1_000:]}))
    page.goto("/console/timers")
    expect(page.get_by_role("region", name="Bulk actions")).to_contain_text("Set a filter")
    page.get_by_text("More filters").click()
    page.get_by_label("Metadata").fill("bulk=yes")
    page.get_by_role("button", name="Filter").click()
    assert "key=" not in page.url  # what is empty is left out
    page.get_by_role("region", name="Bulk actions").get_by_role("link", name="Cancel…").click()
    expect(page.locator(".lead")).to_contain_text("1,200 timers would be canceled")
    page.get_by_role("button", name="Cancel these 1,200").click()
    expect(page.get_by_role("status")).to_have_text("Done: 1,200 timers, 0 skipped.")
    found = data_of(service.get("/timers", params={"metadata.bulk": "yes", "status": "canceled"}))
    assert found["total"] == many


def test_schedule_is_made_previewed_triggered_and_paused(page: Page) -> None:
    page.goto("/console/schedules")
    page.get_by_role("link", name="New schedule…").click()
    page.get_by_label("Rule", exact=True).fill("0 9 1 1 *")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Name").fill("yearly")
    page.get_by_label("Callback URL").fill(URL)
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[aria-label=Preview]")).to_contain_text("-01-01 08:00:00")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Schedule yearly")).to_be_visible()
    page.get_by_role("button", name="Trigger now").click()
    expect(page.get_by_role("heading", name="Timer")).to_be_visible()
    page.get_by_role("region", name="What it is").get_by_role("link").first.click()
    expect(page.get_by_role("region", name="Past runs").get_by_role("listitem")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".lead")).to_contain_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".lead")).to_contain_text("active")


def test_flow_and_destination_are_paused(page: Page, service: httpx.Client) -> None:
    create(service, flow_key="mail/ü")
    page.goto("/console/flows")
    page.get_by_label("Open a flow by its key").fill("mail/ü")
    page.get_by_role("button", name="Open").click()
    page.get_by_label("At once").fill("3")
    page.get_by_role("button", name="Set these limits").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".lead")).to_contain_text("paused")
    page.goto("/console/destinations")
    paused = page.get_by_role("region", name="Pause another one")
    paused.get_by_label("Destination").fill("https://partner.example")
    paused.get_by_role("button", name="Pause").click()
    row = page.get_by_role("row").filter(has_text="https://partner.example:443")
    expect(row).to_contain_text("paused")
    row.get_by_role("button", name="Resume").click()
    expect(row).to_have_count(0)


def test_key_is_made_copied_and_revoked_with_its_session(
    page: Page, browser: Browser, service: httpx.Client
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/console/keys")
    page.get_by_label("Name").fill("reader")
    page.get_by_label("read").check()
    page.get_by_role("button", name="Create").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    key = page.evaluate("navigator.clipboard.readText()")
    context = browser.new_context(base_url=str(service.base_url))
    reader = context.new_page()
    sign_in(reader, str(service.base_url), key)
    reader.goto("/console/timers")
    assert reader.locator("form[method=post]").count() == 1  # to sign out
    page.goto("/console/keys")
    row = page.get_by_role("row").filter(has_text="reader")
    row.get_by_text("Revoke…").click()
    row.get_by_role("button", name="Revoke reader").click()
    expect(row).to_have_count(0)
    reader.reload()
    expect(reader).to_have_url(re.compile("/console/login"))
    context.close()


def test_project_is_made_and_acted_in(page: Page, service: httpx.Client) -> None:
    page.goto("/console/projects")
    page.get_by_label("Name").fill("shop")
    page.get_by_role("button", name="Create").click()
    page.get_by_label("Live timers at most").fill("1000")
    page.get_by_role("button", name="Set these").click()
    expect(page.get_by_label("Live timers at most")).to_have_value("1000")
    page.goto("/console/projects")
    page.get_by_role("button", name="Go to shop").click()
    expect(page.locator(".who")).to_contain_text("shop")
    while not data_of(service.get("/audit", headers={"X-Project": "shop"}))["audit"]:
        pass  # it is written within a second
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("table")).to_contain_text("project.changed")


def pages_of(service: httpx.Client) -> Sequence[str]:
    """Make something of each kind; answers with the paths of all pages."""
    timer = create(
        service,
        flow_key="a flow",
        metadata={"a": [1]},
        callback_headers={"Authorization": "Bearer x"},
        callback_payload={"n": 1},
    )
    failed = create(service, delay=0, retry={"delays": [0.1], "max_attempts": 2})
    every = {"every": 1, "callback_url": URL, "name": "often"}
    schedule = data_of(service.post("/schedules", json=every))["id"]
    data_of(service.put("/flows/a flow", json={"paused": True, "max_in_flight": 2}))
    data_of(service.post("/destinations/pause", json={"destination": "https://paused.example"}))
    data_of(service.post("/keys", json={"name": "a key", "scopes": ["read"]}))
    data_of(service.get("/signing-secrets"))
    while data_of(service.get(f"/timers/{failed}"))["status"] != "failed":
        pass
    return (
        *("", "/timers", "/timers?status=late", f"/timers/{timer}", f"/timers/{failed}"),
        *(f"/timers/{timer}/change", "/timers/bulk?action=redrive&status=failed", "/timers/x"),
        *("/schedules", "/schedules/new", f"/schedules/{schedule}"),
        *(f"/schedules/{schedule}/change", "/destinations", "/flows", "/flow?flow_key=a%20flow"),
        *("/projects", "/projects/default", "/keys", "/secrets", "/audit", "/try"),
        f"/try/{failed}",
    )


def test_nothing_is_in_anybodys_way(browser: Browser, service: httpx.Client) -> None:
    paths = pages_of(service)
    url, found = str(service.base_url), []
    for turn, (scheme, width) in enumerate((("light", 1280), ("dark", 390))):
        context = browser.new_context(
            base_url=url,
            color_scheme=scheme,  # type: ignore[arg-type]  # Playwright's literals
            viewport={"width": width, "height": 800},
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto("/console/login")
        found += barriers(page)
        sign_in(page, url)
        for place, path in enumerate(paths):
            # Light and wide one quarter of them, dark and narrow another.
            if not is_sampled(place + 2 * turn, of=4):
                continue
            page.goto(f"/console{path}")
            page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
            found += barriers(page)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                found.append(f"{path} is {wide} wide on {width}")
        context.close()
    assert found == []


def test_all_is_reached_by_keyboard(page: Page, service: httpx.Client) -> None:
    timer = create(service, key="by-keyboard")
    page.goto("/console/timers")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    link = page.get_by_role("link", name="by-keyboard")
    for _ in range(40):
        page.keyboard.press("Tab")
        if link.evaluate("(one) => one === document.activeElement"):
            break
    width = link.evaluate("(one) => getComputedStyle(one).outlineWidth")
    assert width == "2px"  # where the focus is can be seen
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(timer))
