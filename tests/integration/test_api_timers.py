from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api_under_test import MAX_METADATA_KEYS, START, WANTED, ApiUnderTest, running_api
from timer_trio.domain.timer import Status

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


def body(member: str) -> bytes:
    """Write a good body with one more member, as raw text."""
    return b'{"delay": 60, "callback_url": "https://example.com/", ' + member.encode() + b"}"


async def post_raw(api: ApiUnderTest, content: bytes) -> Any:
    answer = await api.client.post("/timers", content=content, headers=JSON)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def test_create_answers_201_with_the_summary(api: ApiUnderTest) -> None:
    answer = await api.client.post("/timers", json=WANTED)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    envelope = answer.json()
    assert envelope["code"] == 0
    data = envelope["data"]
    assert answer.headers["location"] == f"/timers/{data['id']}"
    assert UUID(data.pop("id")).version == 7
    assert data == {
        "created_at": "2030-01-01T00:00:00Z",
        "execute_at": "2030-01-01T00:01:00Z",
        "callback_url": WANTED["callback_url"],
        "status": "pending",
        "executed_at": None,
    }


async def test_timer_is_created_no_later_than_it_is_due(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later() -> datetime:
        api.clock.advance(0.001)
        return api.clock.instant

    monkeypatch.setattr(api.clock, "now", later)
    for wanted in ({"delay": 0}, {"execute_at": START.isoformat()}):
        url = WANTED["callback_url"]
        answer = await api.client.post("/timers", json={**wanted, "callback_url": url})
        data = answer.json()["data"]
        assert data["created_at"] == data["execute_at"]
        batch = await api.client.post(
            "/timers/batch", json={"timers": [{"delay": 0, "callback_url": url}]}
        )
        [data] = batch.json()["data"]["timers"]
        assert data["created_at"] == data["execute_at"]


async def test_get_shows_every_field(api: ApiUnderTest) -> None:
    wanted: dict[str, Any] = {
        "callback_url": "http://example.com:8080/x?y=%20#z",
        "callback_method": "PATCH",
        "callback_headers": {"Authorization": "Bearer x", "X-Empty": "", "content-type": "text/x"},
        "callback_payload": {"b": 1, "a": [None, True, "ä"]},
        "metadata": {"order": 4711, "nested": {"deep": [1.5, "ü"]}},
        "timeout_seconds": 2.5,
        "delivery": "at_most_once",
        "misfire_grace_seconds": None,
        "retry": {"max_attempts": 2, "delays": [1.5], "jitter": 0},
        "store_response": "all",
        "on_completed": {"url": "https://example.com/done", "headers": {"X-A": "b"}},
        "on_failed": {"url": "https://example.com/lost", "headers": {}},
        "signing": "none",
        "flow_key": "customer-ü",
    }
    created = await api.create(**wanted)
    data = await api.get(created["id"])
    assert data == {
        **created,
        **wanted,
        "updated_at": data["updated_at"],
        "retry": {**wanted["retry"], "give_up_after_seconds": None},
        "last_error": None,
        "http_status": None,
        "duration_ms": None,
        "next_attempt_at": None,
        "key": None,
        "attempt": 0,
        "parent_id": None,
        "schedule_id": None,
    }


async def test_defaults_are_filled_in(api: ApiUnderTest) -> None:
    data = await api.get((await api.create())["id"])
    names = ("callback_method", "timeout_seconds", "delivery", "misfire_grace_seconds")
    assert [data[name] for name in names] == ["POST", 30.0, "at_least_once", 300.0]
    assert (data["callback_headers"], data["callback_payload"], data["metadata"]) == (
        {},
        None,
        None,
    )


@pytest.mark.parametrize(
    "payload",
    [
        *("null", "true", "0", "-0", '""', '"x"', "[]", "{}", "[[], {}]", "1e308", "5e-324"),
        '{"z": 1, "a": 2, "m": 3}',
        "9" * 5_000,
        f"[-{'1' * 30}, 0.1, 1e22, 123456789.123456789]",
        '"\\u0000 and \\ud83d\\ude00 and \\u00e9"',
        '"日本語 \U0001f600"',
        '{"a": 1, "a": 2}',
        "[" * 99 + "]" * 99,
        ' \t{ "spaced" :\n[ 1 , 2 ] } ',
    ],
)
async def test_payload_comes_back_as_the_text_that_was_sent(
    api: ApiUnderTest, payload: str
) -> None:
    created = await post_raw(api, body(f'"callback_payload": {payload}'))
    answer = await api.client.get(f"/timers/{created['id']}")
    assert answer.content.endswith(b'"callback_payload": ' + payload.strip().encode() + b"}}")


async def test_metadata_survives(api: ApiUnderTest) -> None:
    metadata = {"big": 10**999, "float": 0.1, "": {"": [None, False]}, "é": "\U0001f600\u2028"}
    created = await post_raw(api, body(f'"metadata": {json.dumps(metadata)}'))
    assert (await api.get(created["id"]))["metadata"] == metadata


@pytest.mark.parametrize(
    ("wanted", "due"),
    [
        ("2030-01-01T00:00:01Z", "2030-01-01T00:00:01Z"),
        ("2030-01-01t00:00:01z", "2030-01-01T00:00:01Z"),
        ("2030-01-01T02:00:01+02:00", "2030-01-01T00:00:01Z"),
        ("2029-12-31T20:30:01.5-03:30", "2030-01-01T00:00:01.500000Z"),
        ("2030-01-01T00:00:01.123456789Z", "2030-01-01T00:00:01.123456Z"),
        ("2030-01-01T00:00:01-00:00", "2030-01-01T00:00:01Z"),
        ("2032-02-29T00:00:00Z", "2032-02-29T00:00:00Z"),
        ("2040-01-01T00:00:00Z", "2040-01-01T00:00:00Z"),
    ],
)
async def test_execute_at_is_normalised_to_utc(api: ApiUnderTest, wanted: str, due: str) -> None:
    answer = await api.client.post(
        "/timers", json={"execute_at": wanted, "callback_url": "https://example.com/"}
    )
    assert answer.json()["data"]["execute_at"] == due


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        *((0, 0), (1, 1), (0.25, 0.25), (1e3, 1_000), ("PT0S", 0), ("PT5M", 300)),
        *(("P1DT1H", 90_000), ("P2W", 1_209_600), ("PT1.5S", 1.5), ("PT0,5H", 1_800)),
        *(("P1W2DT3H4M5S", 788_645), (315_532_800, 315_532_800)),
    ],
)
async def test_delay_counts_from_arrival(api: ApiUnderTest, delay: object, seconds: float) -> None:
    data = await api.create(delay=delay)
    assert datetime.fromisoformat(data["execute_at"]) == START + timedelta(seconds=seconds)


async def test_half_a_second_ago_is_now_and_more_is_refused(api: ApiUnderTest) -> None:
    for past_ms, status in ((500, 201), (501, 400)):
        execute_at = (START - timedelta(milliseconds=past_ms)).isoformat()
        answer = await api.client.post(
            "/timers", json={"execute_at": execute_at, "callback_url": "https://example.com/"}
        )
        assert answer.status_code == status
        if status == 201:
            assert answer.json()["data"]["execute_at"] == "2030-01-01T00:00:00Z"


async def test_ten_years_ahead_is_the_limit(api: ApiUnderTest) -> None:
    for execute_at, status in (("2040-01-01T00:00:00Z", 201), ("2040-01-01T00:00:01Z", 400)):
        answer = await api.client.post(
            "/timers", json={"execute_at": execute_at, "callback_url": "https://example.com/"}
        )
        assert answer.status_code == status


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com", "HTTPS://EXAMPLE.COM/", "http://127.0.0.1:9000/x", "http://[::1]/"),
        *("http://bücher.example/ä?ö=ü", "http://example.com/a%20b?c=d&e", "http://localhost"),
        *("http://example.com./", "http://a_b.example/", "https://example.com/" + "a" * 2_028),
    ],
)
async def test_urls_that_can_be_called_are_kept_as_they_are(api: ApiUnderTest, url: str) -> None:
    assert (await api.create(callback_url=url))["callback_url"] == url


async def test_errors_name_every_field_and_the_first_in_the_message(api: ApiUnderTest) -> None:
    answer = await api.client.post(
        "/timers", json={"exectue_at": 1, "callback_url": "ftp://x", "callback_headers": {"a": 1}}
    )
    assert answer.status_code == 400
    envelope = answer.json()
    assert envelope["message"] == (
        "exectue_at: is not a field of a timer; did you mean execute_at?"
    )
    fields = [error["field"] for error in envelope["data"]["errors"]]
    assert sorted(fields) == ["callback_headers.a", "callback_url", "exectue_at", "execute_at"]


async def test_a_guess_is_made_for_the_first_unknown_field_alone(api: ApiUnderTest) -> None:
    answer = await api.client.post("/timers", json={**WANTED, "metadta": {}, "delivry": ""})
    words = [error["message"] for error in answer.json()["data"]["errors"]]
    unknown = "is not a field of a timer"
    assert words == [f"{unknown}; did you mean metadata?", unknown]


async def test_metadata_has_as_many_keys_as_it_may_have(api: ApiUnderTest) -> None:
    inner = {"list": [1, {"key": 2}], "other": None}
    most = {f"k{number}": number for number in range(MAX_METADATA_KEYS - 6)} | {"inner": inner}
    timer = await api.create(metadata=most)
    assert (await api.get(timer["id"]))["metadata"] == most
    put = f"/timers/{timer['id']}"
    for method, path in (("POST", "/timers"), ("PUT", put)):
        members = WANTED if method == "POST" else {}
        wanted = {**members, "metadata": {**most, "one": "more"}}
        answer = await api.client.request(method, path, json=wanted)
        assert answer.status_code == 400
        (error,) = answer.json()["data"]["errors"]
        assert error["field"] == "metadata"
        assert "too many keys and array elements (at most 64 in all" in error["message"]
    assert (await api.get(timer["id"]))["metadata"] == most


async def test_great_body_is_kept_as_a_short_one(api: ApiUnderTest) -> None:
    payload = (
        '[{"n": 1e2, "text": "\\ud83d\\ude00 é", "list": [[], {}, -0.5]}, ' + "[1, 2], " * 5_000
    )
    payload += '"' + "\\n\u00e9x" * 5_000 + '"]'
    metadata = {"text": "é\n" * 5_000, "n": 10**40}
    member = f'"callback_payload": {payload}, "metadata": {json.dumps(metadata)}'
    timer = await post_raw(api, body(member))
    whole = (await api.client.get(f"/timers/{timer['id']}")).text
    assert f'"callback_payload": {payload}}}' in whole
    assert json.loads(whole)["data"]["metadata"] == metadata


async def test_update_changes_what_it_names_and_nothing_else(api: ApiUnderTest) -> None:
    created = await api.create(
        metadata={"a": 1}, callback_payload=[1], callback_headers={"A": "b"}, timeout_seconds=5
    )
    before = await api.get(created["id"])
    changes: list[dict[str, Any]] = [
        {"callback_url": "https://example.com/other"},
        {"callback_payload": {"new": True}},
        {"callback_payload": None},
        {"metadata": {"b": 2}},
        {"metadata": None},
        {"callback_headers": {"C": "d"}},
        {"callback_headers": {}},
        {"callback_method": "DELETE"},
        {"timeout_seconds": 7.5},
        {"delivery": "at_most_once"},
        {"misfire_grace_seconds": 1},
        {"misfire_grace_seconds": None},
        {"execute_at": "2031-01-01T00:00:00Z", "callback_method": "PUT"},
    ]
    for change in changes:
        answer = await api.client.put(f"/timers/{created['id']}", json=change)
        assert answer.status_code == 200, answer.text
        before.update(change)
        after = await api.get(created["id"])
        before["updated_at"] = after["updated_at"]
        assert after == before
        summary = answer.json()["data"]
        assert summary == {name: after[name] for name in summary}


async def test_update_with_a_delay_counts_from_its_own_arrival(api: ApiUnderTest) -> None:
    created = await api.create()
    answer = await api.client.put(f"/timers/{created['id']}", json={"delay": "PT10M"})
    assert answer.json()["data"]["execute_at"] == "2030-01-01T00:10:00Z"


async def test_null_headers_are_none(api: ApiUnderTest) -> None:
    created = await api.create(callback_headers=None, metadata=None)
    assert (await api.get(created["id"]))["callback_headers"] == {}
    await api.client.put(f"/timers/{created['id']}", json={"callback_headers": {"A": "b"}})
    await api.client.put(f"/timers/{created['id']}", json={"callback_headers": None})
    assert (await api.get(created["id"]))["callback_headers"] == {}


async def test_cancel_answers_the_same_again(api: ApiUnderTest) -> None:
    created = await api.create()
    for _ in range(2):
        answer = await api.client.delete(f"/timers/{created['id']}")
        assert answer.status_code == 200
        assert answer.json()["data"] == {"id": created["id"], "status": "canceled"}
    assert (await api.get(created["id"]))["status"] == "canceled"


@pytest.mark.parametrize("status", [Status.EXECUTING, Status.COMPLETED, Status.FAILED])
async def test_a_timer_past_pending_can_be_neither_changed_nor_canceled(
    api: ApiUnderTest, status: Status
) -> None:
    created = await api.create()
    await api.begin(created["id"])
    if status is not Status.EXECUTING:
        await api.end(created["id"], status)
    for verb, answer in (
        ("update", await api.client.put(f"/timers/{created['id']}", json={"delay": 1})),
        ("cancel", await api.client.delete(f"/timers/{created['id']}")),
    ):
        assert answer.status_code == 400
        assert answer.json()["code"] == 2
        assert answer.json()["message"] == f"cannot {verb} timer with status '{status}'"


async def test_a_canceled_timer_cannot_be_changed(api: ApiUnderTest) -> None:
    created = await api.create()
    await api.client.delete(f"/timers/{created['id']}")
    answer = await api.client.put(f"/timers/{created['id']}", json={"delay": 1})
    assert answer.status_code == 400
    assert answer.json()["message"] == "cannot update timer with status 'canceled'"


async def test_get_tells_how_a_timer_ended(api: ApiUnderTest) -> None:
    created = await api.create()
    await api.begin(created["id"])
    await api.end(created["id"], Status.FAILED, "HTTP 503 from https://example.com")
    data = await api.get(created["id"])
    assert (data["status"], data["attempt"]) == ("failed", 1)
    assert data["last_error"] == "HTTP 503 from https://example.com"
    assert data["executed_at"] == "2030-01-01T00:00:00Z"


async def test_ids_are_read_in_either_case_and_unknown_ones_are_404(api: ApiUnderTest) -> None:
    created = await api.create()
    assert await api.get(created["id"].upper()) == await api.get(created["id"])
    for method in ("GET", "PUT", "DELETE"):
        content = b'{"delay": 1}' if method == "PUT" else b""
        answer = await api.client.request(
            method, f"/timers/{uuid4()}", content=content, headers=JSON
        )
        assert (answer.status_code, answer.json()["code"]) == (404, 3)


async def test_a_body_on_a_get_or_delete_is_ignored(api: ApiUnderTest) -> None:
    created = await api.create()
    for method in ("GET", "DELETE"):
        answer = await api.client.request(
            method, f"/timers/{created['id']}", content=b"\xff", headers=JSON
        )
        assert answer.status_code == 200
