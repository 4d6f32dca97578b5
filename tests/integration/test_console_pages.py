"""Each page of the console: with nothing, with much, with hostile texts, for each kind of key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.api_under_test import API_KEY, SCHEDULE, START, WANTED, ApiUnderTest, running_api
from tests.console import PAGES, ROOT, Operator, Page, operator
from timer_trio import console
from timer_trio.api.inside import Inside
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.destination import (
    NO_DURATIONS,
    Counted,
    DestinationNow,
    DestinationReport,
    Ends,
)
from timer_trio.domain.project import ProjectId
from timer_trio.domain.settlement import Failed
from timer_trio.domain.timer import Claim, Destination, Lane, ReplicaId, Status, TimerId

HOSTILE: Final = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{7*1000003}}</textarea>"
HOSTILE_URLS: Final = (
    "/timers?status={}",
    "/timers?nothing={}",
    "/timers?metadata={}%3D1",
    "/timers?cursor={}",
    "/timers?execute_after={}",
    "/timers/{}",
    "/timers/{}/change",
    "/timers/{}/live",
    "/timers/bulk?action={}",
    "/timers/bulk?action=cancel&status={}",
    "/timers/bulk",
    "/schedules?status={}",
    "/schedules/{}",
    "/flows?paused={}",
    "/flow?flow_key={}",
    "/flow",
    "/flow?flow_key=%00",
    "/destinations?destination={}",
    "/projects/{}",
    "/audit?action={}",
    "/audit?before={}",
    "/try/{}",
    "/login?next={}",
    "/timers?a=1&a=2",
    "/timers?a=%ff",
    "/timers?key=%00",
    "/nothing",
    "/timers/%ff",
    "/timers/a%2Fb",
    "/project/%3F",
)
MARKER: Final = "what-is-theirs"
_OF_ADMINS: Final = ("/projects", "/keys", "/audit")
_OF_WRITERS: Final = ("/timers/bulk", "/schedules/new", "/try")
_IDS: Final = {
    "timer_id": "00000000-0000-7000-8000-000000000000",
    "schedule_id": "00000000-0000-7000-8000-000000000000",
    "secret_id": "00000000-0000-7000-8000-000000000000",
    "key_id": "0" * 24,
    "name": "default",
    "address": "x",
}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api(pages=console.routes, sensitive=("X-Token",)) as running:
        yield running


def routes_of(api: ApiUnderTest, method: str) -> Sequence[str]:
    """Return the paths of the console's routes that need a session."""
    nobody: Any = None
    inside: Inside = nobody
    paths = [each.path for each in console.routes(api.context, inside) if each.method == method]
    open_ones = (f"{ROOT}/login", f"{ROOT}/static", f"{ROOT}/receiver")
    return [path.removeprefix(ROOT) for path in paths if not path.startswith(open_ones)]


def filled(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)


async def full(
    api: ApiUnderTest, text: str, headers: dict[str, str] | None = None
) -> dict[str, str]:
    """Make something of each kind, in whose texts this one stands; answers with their ids."""
    as_them = headers or {"X-API-Key": API_KEY}

    async def made(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await api.client.request(method, path, json=body, headers=as_them)
        assert answer.status_code < 300, (path, answer.text)
        return answer.json()["data"]

    url = f"https://example.com/{quote(text)}"
    common = {
        "callback_url": url,
        "callback_payload": {text: text},
        "callback_headers": {"X-Text": text, "X-Token": "s3cret"},
        "metadata": {text: text},
        "flow_key": text,
    }
    timer = await made("POST", "/timers", {**WANTED, **common, "key": text, "retry": {}})
    schedule = await made("POST", "/schedules", {**SCHEDULE, **common, "name": text})
    await made("PUT", f"/flows/{quote(text, safe='')}", {"paused": True, "max_in_flight": 3})
    await made("POST", "/destinations/pause", {"destination": "https://paused.example"})
    key = await made("POST", "/keys", {"name": text, "scopes": ["read"]})
    listed = await made("GET", "/signing-secrets")
    failing = await made("POST", "/timers", {**WANTED, "delay": 0, **common, "key": f"{text}2"})
    await _fail(api, failing["id"], text)
    await api.audit_log.write()
    return {
        "timer_id": timer["id"],
        "failed_id": failing["id"],
        "schedule_id": schedule["id"],
        "key_id": key["id"],
        "secret_id": listed["signing_secrets"][0]["id"],
    }


async def _fail(api: ApiUnderTest, timer_id: str, text: str) -> None:
    await api.begin(timer_id, claim=77)
    answer = KeptAnswer(headers=((text, text),), body=text.encode(), is_truncated=True)
    now = api.clock.now()
    record = AttemptRecord(1, now, now, "rejected", 503, text, answer)
    failed = Failed(
        timer_id=TimerId(UUID(timer_id)),
        claim=Claim(77),
        is_begun=True,
        executed_at=now,
        last_error=text,
        attempts=(record,),
    )
    assert await api.storage.settle([failed], now) == [True]


async def note_destinations(api: ApiUnderTest, project: ProjectId, name: str) -> None:
    replica = ReplicaId(UUID(int=7))
    await api.storage.join(replica, api.clock.now())
    lane = Lane(Destination(f"https://{name}.example:443"), project)
    ends = Ends(delivered=1, rejected=2, unreachable=3, timed_out=4, other=5)
    await api.storage.note_destinations(
        DestinationReport(
            counter=replica,
            replica=replica,
            at=api.clock.now(),
            counted=[Counted(lane, START, ends, (1,) * len(NO_DURATIONS))],
            now=[DestinationNow(lane, 6, 7, api.clock.now())],
        )
    )


def check(page: Page, path: str) -> None:
    """Claim that a page has no script or style but what it loads, and names each field."""
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (path, tag)
        if tag == "script":
            assert attributes["src"] == f"{ROOT}/static/console.js"
        if tag == "img":
            assert attributes["src"].startswith(f"{ROOT}/static/")
        for name in ("href", "src", "action"):
            if name in attributes:
                assert attributes[name].startswith(("/", "#")), (path, attributes)
                assert not attributes[name].startswith("//")


def paths_of(ids: dict[str, str]) -> Sequence[str]:
    return (
        *PAGES,
        *(f"/timers/{ids[name]}" for name in ("timer_id", "failed_id")),
        f"/timers/{ids['timer_id']}/change",
        f"/try/{ids['failed_id']}",
        f"/schedules/{ids['schedule_id']}",
        f"/schedules/{ids['schedule_id']}/change",
    )


async def test_pages_without_anything_say_so(api: ApiUnderTest) -> None:
    someone = await operator(api)
    for path in PAGES:
        page = await someone.page(path)
        check(page, path)
        assert len(page.all("h1")) == 1
        assert not re.search(r"\bNone\b(?! has joined)", page.text)


async def test_pages_with_much_show_it_in_pages(api: ApiUnderTest) -> None:
    many = 60
    someone = await operator(api)
    timers = [{**WANTED, "delay": n, "key": f"k{n}"} for n in range(many)]
    assert (await api.client.post("/timers/batch", json={"timers": timers})).status_code == 201
    await check_pages(someone, "/timers", "k")
    for n in range(many):
        await api.create_schedule(name=f"s{n}")
        await api.client.put(f"/flows/f{n}", json={"max_in_flight": 1})
        where = {"destination": f"https://d{n}.example"}
        await api.client.post("/destinations/pause", json=where)
    for path, name in (("/schedules", "s"), ("/flows", "f"), ("/destinations", "d")):
        await check_pages(someone, path, name)


async def check_pages(someone: Operator, path: str, name: str) -> None:
    """Claim that 60 things, which are named so and numbered, are on two pages."""
    first = await someone.page(path)
    (following,) = first.all("a", rel="next")
    second = await someone.page(following["href"].removeprefix(ROOT))
    assert not second.all("a", rel="next")
    shown = [set(re.findall(rf"\b{name}\d+\b", page.text)) for page in (first, second)]
    assert [len(each) for each in shown] == [50, 10]
    assert not shown[0] & shown[1]
    (back,) = [link for link in second.all("a", href=f"{ROOT}{path}") if "aria-current" not in link]
    assert back["class"] == "button"


async def test_hostile_texts_stay_texts(api: ApiUnderTest) -> None:
    ids = await full(api, HOSTILE)
    await note_destinations(api, ProjectId(0), "failing")
    someone = await operator(api)
    flow = f"/flow?flow_key={quote(HOSTILE)}"
    for path in (*paths_of(ids), flow):
        page = await someone.page(path)
        check(page, path)
        assert "7000021" not in page.text, path
    for path in (f"/timers/{ids['failed_id']}", f"/schedules/{ids['schedule_id']}", flow, "/keys"):
        assert HOSTILE in (await someone.page(path)).text
    assert HOSTILE in (await someone.page("/audit")).text


async def test_hostile_urls_are_refused_and_shown_as_texts(api: ApiUnderTest) -> None:
    someone = await operator(api)
    for path in HOSTILE_URLS:
        answer = await someone.get(path.format(quote(HOSTILE, safe="")))
        assert answer.status_code in {200, 400, 401, 404}, (path, answer.text)
        if answer.headers["content-type"].startswith("text/html"):
            check(Page(answer.text), path)
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_each_answer_forbids_what_it_does_not_need(api: ApiUnderTest) -> None:
    someone = await operator(api)
    answers = [await someone.get(path) for path in (*PAGES, "/login", "/timers/x", "/nothing")]
    answers.append(await someone.post("/logout", {}))
    for answer in answers[:-2]:
        policy = answer.headers["content-security-policy"]
        for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
            assert part in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_files_are_served_to_anybody_with_their_types(api: ApiUnderTest) -> None:
    stranger = Operator(api)
    for name, media in (
        ("console.css", "text/css"),
        ("console.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ):
        answer = await stranger.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media)
    assert (await stranger.get("/static/../../../pyproject.toml")).status_code in {401, 404}


async def test_key_that_reads_sees_no_button_and_changes_nothing(api: ApiUnderTest) -> None:
    ids = await full(api, "mine")
    reader = await operator(api, await api.create_key("read"))
    for path in (*paths_of(ids), "/flow?flow_key=mine"):
        is_trial = path.startswith("/try/")
        if (path.startswith((*_OF_ADMINS, *_OF_WRITERS)) and not is_trial) or path.endswith(
            "/change"
        ):
            assert (await reader.get(path)).status_code == 403, path
        else:
            assert (await reader.page(path)).actions == {f"{ROOT}/logout"}, path
    before = [*api.storage._rows.values()], dict(api.storage._flows), dict(api.storage._api_keys)
    for path in routes_of(api, "POST"):
        if path in {"/logout", "/project"}:
            continue
        form = {"flow_key": "mine", "action": "cancel", "status": "pending", "kind": "cron",
                "rule": "0 9 * * *", "destination": "https://example.com", "name": "x",
                "delay": "1", "callback_payload": "1", "scopes": "read",
                "callback_url": "https://x.y"}  # fmt: skip
        answer = await reader.do(filled(path, {**_IDS, **ids}), **form)
        assert answer.status_code == 403, (path, answer.text)
    after = [*api.storage._rows.values()], dict(api.storage._flows), dict(api.storage._api_keys)
    assert before == after


async def test_key_that_writes_manages_no_keys(api: ApiUnderTest) -> None:
    writer = await operator(api, await api.create_key("write"))
    for path in _OF_ADMINS:
        assert (await writer.get(path)).status_code == 403
    listed = {link["href"] for link in (await writer.page("/timers")).all("a")}
    assert not listed & {f"{ROOT}{path}" for path in _OF_ADMINS}
    secrets = await writer.page("/secrets")
    assert "whsec_" not in secrets.text
    admin = await operator(api, await api.create_key("admin"))
    assert (await admin.get("/projects")).status_code == 403
    assert (await admin.page("/projects/default")).all("h1")


async def test_what_is_masked_by_the_api_is_masked_here(api: ApiUnderTest) -> None:
    ids = await full(api, "text")
    writer = await operator(api, await api.create_key("write"))
    paths = [f"/timers/{ids['timer_id']}", f"/timers/{ids['timer_id']}/change"]
    paths.append(f"/schedules/{ids['schedule_id']}")
    for path in paths:
        html = (await writer.get(path)).text
        assert "s3cret" not in html
        assert "s3cret" in (await (await operator(api)).get(path)).text
    page = Page((await writer.get(paths[1])).text)
    form = {each["name"]: each["value"] for each in page.all("input") if "value" in each}
    form |= {name: form[f"before_{name}"] for name in ("callback_headers", "callback_payload",
             "metadata", "retry", "callback_method")}  # fmt: skip
    await writer.done(paths[1], **{**form, "timeout_seconds": "7"})
    whole = await api.get(ids["timer_id"])
    assert whole["timeout_seconds"] == 7
    assert whole["callback_headers"]["X-Token"] == "s3cret"


async def test_nobody_sees_or_changes_what_is_of_another_project(api: ApiUnderTest) -> None:
    await api.create_project("mine")
    mine = await operator(api, await api.create_key("admin", project="mine"))
    project = await api.create_project("theirs")
    key = await api.create_key("admin", project="theirs")
    ids = await full(api, MARKER, {"X-API-Key": key})
    await note_destinations(api, project, MARKER)
    before = _everything(api, project)
    ids |= {"name": "theirs", "address": "x"}
    for path in (*PAGES, *routes_of(api, "GET"), f"/flow?flow_key={MARKER}"):
        if path.endswith("/live"):
            continue
        answer = await mine.get(filled(path, ids))
        assert MARKER not in answer.text.replace(f'value="{MARKER}"', ""), path
        if "{" in path:
            assert answer.status_code == 404, path
    for path in routes_of(api, "POST"):
        form = {"flow_key": MARKER, "action": "cancel", "metadata": f"{MARKER}={MARKER}",
                "confirmed": "theirs", "destination": f"https://{MARKER}.example"}  # fmt: skip
        if path != "/logout":
            answer = await mine.do(filled(path, ids), **form)
            assert answer.status_code != 500, path
            assert "{" not in path or answer.status_code in {403, 404}, (path, answer.status_code)
    assert _everything(api, project) == before


def _everything(api: ApiUnderTest, project: ProjectId) -> list[object]:
    storage = api.storage
    return [
        [row for row in storage._rows.values() if row.project == project],
        [each for each in storage._schedules.values() if each.project == project],
        [row.key.id for row in storage._api_keys.values() if row.key.project == project],
        storage._projects[project],
        storage._signing.get(project),
        [item for item in storage._flows.items() if item[0].project == project],
        [item for item in storage._paused_destinations.items() if item[0][0] == project],
    ]


async def test_overview_tells_what_is_wrong_first(api: ApiUnderTest) -> None:
    await full(api, "text")
    await note_destinations(api, ProjectId(0), "failing")
    await api.client.post("/pause")
    api.health.trouble, api.health.warnings = "it is read-only", ["fsync is off"]
    api.clock.advance(30)
    page = await (await operator(api)).page("")
    wrong = page.text[: page.text.index("In flight")]
    for words in ("read-only", "Fsync is off", "default is paused", "https://failing.example:443",
                  "The flow text is paused", "1 timer of the last hour has failed"):  # fmt: skip
        assert words in wrong, words


async def test_overview_counts_what_is_due(api: ApiUnderTest) -> None:
    for delay in (5, 50, 500, 5_000, 500_000):
        await api.create(delay=delay)
    done = await api.create(delay=0)
    await api.begin(done["id"])
    await api.end(done["id"], Status.COMPLETED)
    api.clock.advance(1)
    text = (await (await operator(api)).page("")).text
    for words, count in (("Due in a minute", 2), ("Due in an hour", 3), ("Due in a day", 4)):
        assert re.search(rf"{words}\s*{count}(?!\d)", text), words
    assert re.search(r"completed\s*1(?!\d)", text)


async def test_problem_of_the_service_is_a_page(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone = await operator(api)

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api.storage, "project_pause", broken)
    page = await someone.page("/destinations", 500)
    assert "internal error" in page.text
    check(page, "")


async def test_openapi_lists_no_page_of_the_console(api: ApiUnderTest) -> None:
    document = (await api.client.get("/openapi.json")).json()
    assert not [path for path in document["paths"] if path.startswith(ROOT)]
