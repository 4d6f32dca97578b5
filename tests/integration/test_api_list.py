from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api_under_test import ApiUnderTest, running_api
from timer_trio.domain.query import MAX_LISTED_METADATA
from timer_trio.domain.timer import Status


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def listed(api: ApiUnderTest, **query: object) -> Any:
    answer = await api.client.get("/timers", params={n: str(v) for n, v in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def ids(page: Any) -> list[str]:
    return [timer["id"] for timer in page["timers"]]


async def five(api: ApiUnderTest) -> list[str]:
    """Create five timers a second apart, the last one due first."""
    made = []
    for n in range(5):
        made.append((await api.create(delay=1_000 - 100 * n))["id"])
        api.clock.advance(1)
    return made


async def test_the_newest_come_first(api: ApiUnderTest) -> None:
    made = await five(api)
    page = await listed(api)
    assert ids(page) == made[::-1]
    assert (page["total"], page["limit"], page["offset"]) == (5, 50, 0)
    assert page["next_cursor"] is None


async def test_an_empty_list_is_a_list(api: ApiUnderTest) -> None:
    page = await listed(api)
    assert page == {"timers": [], "limit": 50, "next_cursor": None, "total": 0, "offset": 0}


async def test_summaries_are_those_of_the_create(api: ApiUnderTest) -> None:
    created = await api.create(metadata={"customer": "c-17"})
    beside = {
        "destination": "https://example.com:443",
        "attempt": 0,
        "last_error": None,
        "http_status": None,
        "key": None,
        "schedule_id": None,
        "flow_key": None,
        "metadata": {"customer": "c-17"},
    }
    assert (await listed(api))["timers"] == [created | beside]


async def test_metadata_that_is_too_long_for_a_list_is_left_out(api: ApiUnderTest) -> None:
    await api.create(metadata={"text": "x" * MAX_LISTED_METADATA})
    api.clock.advance(1)
    await api.create()
    without, with_too_long = (await listed(api))["timers"]
    assert without["metadata"] is None
    assert "metadata" not in with_too_long


async def failed(api: ApiUnderTest, last_error: str, **fields: object) -> str:
    timer_id: str = (await api.create(**fields))["id"]
    await api.begin(timer_id)
    await api.end(timer_id, Status.FAILED, last_error)
    return timer_id


async def test_failures_are_found_by_their_words_and_their_end(api: ApiUnderTest) -> None:
    await failed(api, "timed out after 30s")
    api.clock.advance(10)
    second = await failed(api, "timed out after 30s", callback_url="https://example.org/")
    await failed(api, "HTTP 503")
    since = {"status": "failed", "ended_after": "2030-01-01T00:00:05Z"}
    page = await listed(api, **since, last_error="timed out")
    assert ids(page) == [second]
    assert page["timers"][0]["last_error"] == "timed out after 30s"
    assert page["timers"][0]["attempt"] == 1
    assert page["total"] == 1
    assert len(ids(await listed(api, **since))) == 2
    assert len(ids(await listed(api, status="failed", ended_before="2030-01-01T00:00:05Z"))) == 1


@pytest.mark.parametrize(
    "asked",
    [
        "https://example.org",
        "https://example.org:443",
        "HTTPS://EXAMPLE.org/",
        "https://example.org.",
    ],
)
async def test_destination_is_found_as_people_write_it(api: ApiUnderTest, asked: str) -> None:
    there = await api.create(callback_url="https://example.org/hook?a=b")
    await api.create()
    page = await listed(api, destination=asked, created_after="2029-12-31T00:00:00Z")
    assert ids(page) == [there["id"]]


ALL_TIME = "1970-01-01T00:00:00Z"
LOWER_BOUNDS: list[dict[str, str]] = [
    {"created_after": ALL_TIME},
    {"execute_after": ALL_TIME},
    {"status": "failed", "ended_after": ALL_TIME},
    {"status": "canceled", "ended_after": ALL_TIME},
]
NO_BOUNDS: list[dict[str, str]] = [
    {},
    {"status": "failed"},
    {"created_before": ALL_TIME, "execute_before": ALL_TIME},
    {"status": "failed", "ended_before": ALL_TIME},
    {"metadata.a": "1"},
]


@pytest.mark.parametrize(
    "unindexed", [{"last_error": "timeout"}, {"destination": "https://example.com"}]
)
async def test_filter_without_an_index_needs_a_lower_bound_of_time(
    api: ApiUnderTest, unindexed: dict[str, str]
) -> None:
    for bound in LOWER_BOUNDS:
        assert ids(await listed(api, **unindexed, **bound)) == []
    for bound in NO_BOUNDS:
        (error,) = await errors(api, **unindexed, **bound)
        assert error["field"] == next(iter(unindexed))
        assert "needs a bound of time: add created_after or execute_after" in error["message"]


async def test_end_of_a_completed_timer_needs_a_bound_that_has_an_index(api: ApiUnderTest) -> None:
    for end in ("ended_after", "ended_before"):
        for status in ({}, {"status": "completed"}):
            (error,) = await errors(api, **{end: ALL_TIME}, **status)
            assert error["field"] == end
            await listed(api, **{end: ALL_TIME}, **status, created_after=ALL_TIME)


async def test_what_has_not_ended_has_no_end(api: ApiUnderTest) -> None:
    asked = {"status": "pending", "ended_after": ALL_TIME, "created_after": ALL_TIME}
    (error,) = await errors(api, **asked)
    assert error["field"] == "ended_after"
    assert "what is pending has not ended" in error["message"]


async def errors(api: ApiUnderTest, **query: str) -> Any:
    answer = await api.client.get("/timers", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 2), query
    return answer.json()["data"]["errors"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("destination", "example.com", "must begin with http:// or https://"),
        ("destination", "https://example.com/hook", "scheme, host and port alone"),
        ("destination", "https://example.com?a", "scheme, host and port alone"),
        ("destination", "https://u:p@example.com", "credentials"),
        ("destination", "https://", "must name a host"),
        ("destination", "https://exa mple.com", "spaces"),
        ("destination", "https://example.com:99999", "is not a valid URL"),
        ("destination", "", "must begin with"),
        ("last_error", "", "must not be empty"),
        ("ended_after", "yesterday", "RFC 3339"),
        ("created_before", "2030-01-01", "RFC 3339"),
    ],
)
async def test_filter_that_cannot_be_read_is_named(
    api: ApiUnderTest, name: str, value: str, words: str
) -> None:
    (error,) = await errors(api, **{name: value})
    assert error["field"] == name
    assert words in error["message"]


async def test_sort_and_order(api: ApiUnderTest) -> None:
    made = await five(api)
    assert ids(await listed(api, sort="created_at", order="asc")) == made
    assert ids(await listed(api, sort="execute_at", order="asc")) == made[::-1]
    assert ids(await listed(api, sort="execute_at")) == made


async def test_offset_pages(api: ApiUnderTest) -> None:
    made = await five(api)
    page = await listed(api, limit=2, offset=2)
    assert ids(page) == [made[2], made[1]]
    assert (page["total"], page["limit"], page["offset"]) == (5, 2, 2)
    assert ids(await listed(api, offset=5)) == []


@pytest.mark.parametrize("sort", ["created_at", "execute_at"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_cursors_walk_the_whole_list_once(api: ApiUnderTest, sort: str, order: str) -> None:
    for _ in range(7):  # all at the same instant: the id alone orders them
        await api.create()
    whole = ids(await listed(api, sort=sort, order=order))
    seen: list[str] = []
    page = await listed(api, sort=sort, order=order, limit=3)
    seen += ids(page)
    while page["next_cursor"]:
        page = await listed(api, sort=sort, order=order, limit=3, cursor=page["next_cursor"])
        assert "total" not in page
        assert "offset" not in page
        seen += ids(page)
    assert seen == whole


async def test_a_cursor_fits_no_other_list(api: ApiUnderTest) -> None:
    await five(api)
    cursor = (await listed(api, limit=2))["next_cursor"]
    strangers: list[dict[str, object]] = [
        {"sort": "execute_at"},
        {"order": "asc"},
        {"status": "pending"},
        {"execute_after": "2030-01-01T00:00:00Z"},
        {"metadata.a": "1"},
        {"created_after": "2029-01-01T00:00:00Z"},
        {"created_before": "2031-01-01T00:00:00Z"},
        {"created_after": "2029-01-01T00:00:00Z", "last_error": "x"},
        {"created_after": "2029-01-01T00:00:00Z", "destination": "https://example.com"},
        {"status": "failed", "ended_after": "2029-01-01T00:00:00Z"},
        {"status": "failed", "ended_before": "2031-01-01T00:00:00Z"},
        {"offset": 0},
        *(
            {"cursor": cursor[:n] + ("A" if cursor[n] != "A" else "B") + cursor[n + 1 :]}
            for n in range(43)
        ),
        *({"cursor": text} for text in (cursor + "A", cursor + "=", cursor[:-1], " " + cursor)),
    ]
    for query in strangers:
        params = {n: str(v) for n, v in {"cursor": cursor, **query}.items()}
        answer = await api.client.get("/timers", params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, 2), query
    assert len(ids(await listed(api, cursor=cursor, limit=200))) == 3


async def test_status_filters(api: ApiUnderTest) -> None:
    first, second = (await api.create())["id"], (await api.create())["id"]
    await api.client.delete(f"/timers/{first}")
    assert ids(await listed(api, status="canceled")) == [first]
    assert ids(await listed(api, status="pending")) == [second]
    page = await listed(api, status="executing")
    assert (page["timers"], page["total"]) == ([], 0)


async def test_execute_after_and_before_are_exclusive(api: ApiUnderTest) -> None:
    due = {}
    for minute in (1, 2, 3):
        created = await api.create(delay=60 * minute)
        due[minute] = created["id"]
    after, before = "2030-01-01T00:01:00Z", "2030-01-01T02:03:00+02:00"
    assert ids(await listed(api, execute_after=after, execute_before=before)) == [due[2]]


@pytest.mark.parametrize(
    ("stored", "asked", "is_found"),
    [
        *(("c-17", "c-17", True), ("c-17", "c-1", False), (17, "17", True), ("17", "17", True)),
        *((1.5, "1.5", True), (True, "true", True), ("true", "true", True), (None, "null", True)),
        *((100, "1e2", True), (1, "true", False), (True, "1", False), (False, "0", False)),
        *(("é & = ?", "é & = ?", True), ("", "", True), ([17], "17", False)),
        *(
            ({"a": 17}, "17", False),
            ("x", "X", False),
            (-3, "-3", True),
            (10**30, "1" + "0" * 30, True),
        ),
    ],
)
async def test_metadata_is_found_by_equality(
    api: ApiUnderTest, stored: object, asked: str, *, is_found: bool
) -> None:
    created = await api.create(metadata={"key": stored, "other": "x"})
    await api.create(metadata={"other": "x"})
    await api.create()
    assert ids(await listed(api, **{"metadata.key": asked})) == [created["id"]] * is_found


async def test_several_metadata_filters_must_all_hold(api: ApiUnderTest) -> None:
    both = await api.create(metadata={"a": 1, "b.c": "x"})
    await api.create(metadata={"a": 1})
    page = await listed(api, **{"metadata.a": 1, "metadata.b.c": "x"})
    assert ids(page) == [both["id"]]


async def test_a_guess_is_made_for_the_first_unknown_parameter_alone(api: ApiUnderTest) -> None:
    answer = await api.client.get("/timers?limti=1&stauts=failed")
    words = [error["message"] for error in answer.json()["data"]["errors"]]
    unknown = "is not a parameter of this route"
    assert words == [f"{unknown}; did you mean limit?", unknown]


async def test_a_query_of_too_many_parameters_is_not_read_on(api: ApiUnderTest) -> None:
    query = "&".join(f"metadata.k{number}=1" for number in range(3_000))
    for route in ("/timers", "/timers/00000000-0000-7000-8000-000000000000"):
        answer = await api.client.get(f"{route}?{query}")
        (error,) = answer.json()["data"]["errors"]
        assert (answer.status_code, error["field"]) == (400, "metadata.k0")
        assert "more than 50 parameters" in error["message"]
