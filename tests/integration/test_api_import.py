# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.api_under_test import (
    MAX_BODY_BYTES,
    START,
    WANTED,
    ApiUnderTest,
    besides_requests,
    running_api,
)
from tests.bad_inputs import BAD_INPUTS
from timer_trio.api import import_run
from timer_trio.api.asgi import DROP_TIMEOUT_S
from timer_trio.api.body.rate import MIN_BYTES_PER_S, WINDOW_S
from timer_trio.api.import_run import CHUNK_LINES, IDLE_S, PAUSE_S
from timer_trio.api.routes.imports import MAX_IMPORTS
from timer_trio.domain.errors import RowRefusedError, StorageUnavailableError
from timer_trio.domain.timer import NewTimer

NDJSON = {"Content-Type": "application/x-ndjson"}
GOOD = json.dumps(WANTED).encode()
ENOUGH = b" " * int(WINDOW_S * MIN_BYTES_PER_S) + b"\n"
"""What a sender must send while it is waited for so long."""


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def import_lines(api: ApiUnderTest, content: bytes | AsyncIterator[bytes]) -> list[Any]:
    """Import, and answer with the lines of the answer: progress, and at last the envelope."""
    answer = await api.client.post("/timers/import", content=content, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def data(imported: int, *errors: tuple[int, str, str]) -> dict[str, Any]:
    told = [{"line": line, "field": field, "message": words} for line, field, words in errors]
    lines = imported + len(told)
    return {"lines": lines, "imported": imported, "refused": len(told), "errors": told}


async def total(api: ApiUnderTest) -> int:
    return int((await api.client.get("/timers?limit=1")).json()["data"]["total"])


async def pieces(*parts: bytes | float) -> AsyncIterator[bytes]:
    """Send some bytes, sleep for some seconds."""
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            await trio.sleep(part)


async def test_lines_are_imported_and_blank_ones_skipped(api: ApiUnderTest) -> None:
    content = b"\n" + GOOD + b"\r\n\r\n  \t\n" + GOOD + b"\n" + b" " + GOOD
    answer = await import_lines(api, content)
    assert answer == [{"code": 0, "message": "success", "data": data(3)}]
    assert await total(api) == 3


async def test_nothing_to_import_is_imported(api: ApiUnderTest) -> None:
    assert (await import_lines(api, b""))[-1]["data"] == data(0)


async def test_bad_lines_are_refused_by_number_and_no_others(api: ApiUnderTest) -> None:
    content = b"\n".join([GOOD, b"", b"{}", GOOD, b"x", b'{"callback_url": "a", "delay": 1}', GOOD])
    (answer,) = await import_lines(api, content)
    assert answer["data"] == data(
        3,
        (3, "callback_url", "is required"),
        (5, "", "the line is not valid JSON: Expecting value (column 1)"),
        (6, "callback_url", "must begin with http:// or https://"),
    )
    assert answer["code"] == 0


async def test_every_bad_timer_is_as_bad_as_a_line(api: ApiUnderTest) -> None:
    alone = [b for b in BAD_INPUTS if (b.method, b.path, b.status) == ("POST", "/timers", 400)]
    bad = [b for b in alone if b.body.strip() and b"\n" not in b.body]
    assert len(bad) > 200
    for start in range(0, len(bad), 100):
        some = bad[start : start + 100]
        content = b"\n".join(line for each in some for line in (GOOD, each.body))
        with capture_logs() as logs:
            answer = (await import_lines(api, content))[-1]
        refused = [error["line"] for error in answer["data"]["errors"]]
        accepted = [b.claim for n, b in enumerate(some) if 2 * n + 2 not in refused]
        assert not accepted
        assert answer["data"]["imported"] == len(some)
        assert [log["event"] for log in besides_requests(logs)] == ["import_ended"]


async def test_only_the_first_hundred_refused_lines_are_told(api: ApiUnderTest) -> None:
    content = b"\n".join([b"{}"] * (CHUNK_LINES + 50))
    (answer,) = await import_lines(api, content)
    assert answer["data"]["refused"] == CHUNK_LINES + 50
    assert [error["line"] for error in answer["data"]["errors"]] == list(range(1, 101))


async def test_payload_of_a_line_is_kept_as_it_arrived(api: ApiUnderTest) -> None:
    payload = '{ "b" : 1, "b": 2, "a" : [ 1e2, 12345678901234567890123 ], "ü": "\\u0000" }'
    line = f'{{"callback_payload":{payload}, "delay": 1, "callback_url": "https://example.com/"}}'
    await import_lines(api, line.encode())
    (timer,) = (await api.client.get("/timers")).json()["data"]["timers"]
    whole = await api.client.get(f"/timers/{timer['id']}")
    assert f'"callback_payload": {payload}' in whole.text


async def test_a_line_that_is_too_long_is_refused_and_the_next_imported(api: ApiUnderTest) -> None:
    fits = GOOD.ljust(MAX_BODY_BYTES)
    content = pieces(fits, b"\r\n", fits, b" ", b"\n", b"x" * 3 * MAX_BODY_BYTES, b"x\n", GOOD)
    (answer,) = await import_lines(api, content)
    words = f"the line is too large (at most {MAX_BODY_BYTES:,} bytes)"
    assert answer["data"] == data(2, (2, "", words), (3, "", words))


async def test_an_import_has_an_end(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_run, "MAX_LINES", 3)
    at_most = await import_lines(api, b"\n".join([GOOD] * 3))
    assert at_most[-1]["code"] == 0
    (answer,) = await import_lines(api, b"\n".join([GOOD] * 5))
    assert (answer["code"], answer["data"]["imported"]) == (2, 3)
    assert answer["data"]["through_line"] == 3
    assert "send the rest in another" in answer["message"]
    assert await total(api) == 6


async def test_row_that_the_database_refuses_is_found_and_refused_alone(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_many = api.storage.create_many

    async def refuse_poison(timers: Sequence[NewTimer], now: datetime) -> None:
        if any(timer.spec.callback.payload == '"poison"' for timer in timers):
            raise RowRefusedError("secret")
        await create_many(timers, now)

    monkeypatch.setattr(api.storage, "create_many", refuse_poison)
    lines = [GOOD] * 100
    lines[16] = lines[70] = json.dumps({**WANTED, "callback_payload": "poison"}).encode()
    lines[30] = b"{}"
    (answer,) = await import_lines(api, b"\n".join(lines))
    refusal = "the database refuses a value of this timer"
    required = (31, "callback_url", "is required")
    assert answer["data"] == data(97, (17, "", refusal), required, (71, "", refusal))
    assert await total(api) == 97


async def test_lost_replies_make_no_doubles(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    create_many = api.storage.create_many
    lost = []

    async def lose_reply(timers: Sequence[NewTimer], now: datetime) -> None:
        await create_many(timers, now)
        if timers[0].id not in lost:
            lost.append(timers[0].id)
            raise StorageUnavailableError("the reply was lost")

    monkeypatch.setattr(api.storage, "create_many", lose_reply)
    count = CHUNK_LINES * 2 + 1
    answer = await import_lines(api, b"\n".join([GOOD] * count))
    assert answer[-1]["data"] == data(count)
    assert len(lost) == 3
    assert await total(api) == count


async def test_database_that_stays_away_ends_an_import_with_how_far_it_came(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    create_many = api.storage.create_many
    asked: list[str] = []

    async def go_away(timers: Sequence[NewTimer], now: datetime) -> None:
        asked.append(str(timers[0].id))
        if asked[0] != asked[-1]:
            raise StorageUnavailableError("away")
        await create_many(timers, now)

    monkeypatch.setattr(api.storage, "create_many", go_away)
    lines = [b"{}", *[GOOD] * (CHUNK_LINES - 1), b"x", *[GOOD] * (CHUNK_LINES * 3)]
    *progress, answer = await import_lines(api, b"\n".join(lines))
    assert (answer["code"], answer["data"]["imported"]) == (1, CHUNK_LINES - 1)
    assert "the database cannot be reached" in answer["message"]
    # The refused line in front of the unknown ones is decided as well.
    assert answer["data"]["through_line"] == CHUNK_LINES + 1
    assert [error["line"] for error in answer["data"]["errors"]] == [1, CHUNK_LINES + 1]
    assert answer["data"]["unknown"] == {
        "first_line": CHUNK_LINES + 2,
        "last_line": CHUNK_LINES * 2,
        "id": asked[-1],
    }
    assert await total(api) == CHUNK_LINES - 1
    assert progress


async def test_stop_of_the_service_ends_an_import_with_how_far_it_came(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    async def stop_in_the_middle() -> AsyncIterator[bytes]:
        yield GOOD + b"\n" + GOOD[:20]
        await trio.sleep(5)
        api.stopping.set()
        await trio.sleep_forever()

    *progress, answer = await import_lines(api, stop_in_the_middle())
    assert (answer["code"], answer["data"]["imported"]) == (1, 1)
    assert answer["message"].startswith("the service stops")
    assert (answer["data"]["through_line"], answer["data"]["unknown"]) == (1, None)
    assert await total(api) == 1
    assert len(progress) <= 6


async def test_times_count_from_the_arrival_of_the_request(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    soon = json.dumps({**WANTED, "delay": 5}).encode() + b"\n"
    url = WANTED["callback_url"]
    at = (START + timedelta(seconds=7)).isoformat()
    past = (START - timedelta(seconds=1)).isoformat()
    instants = [json.dumps({"execute_at": x, "callback_url": url}).encode() for x in (at, past)]

    async def send_slowly() -> AsyncIterator[bytes]:
        yield soon
        await trio.sleep(2 * PAUSE_S)
        api.clock.advance(10)
        yield soon + b"\n".join(instants)

    answer = (await import_lines(api, send_slowly()))[-1]
    assert answer["data"] == data(3, (4, "execute_at", "lies in the past"))
    timers = (await api.client.get("/timers?sort=created_at&order=asc")).json()["data"]["timers"]
    due = [datetime.fromisoformat(timer["execute_at"]) - START for timer in timers]
    assert sorted(each.total_seconds() for each in due) == [5, 5, 7]
    made = [datetime.fromisoformat(timer["created_at"]) - START for timer in timers]
    assert sorted(each.total_seconds() for each in made) == [0, 10, 10]


async def test_progress_tells_through_which_line_it_came(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    content = pieces(GOOD + b"\n\nx\n", 3 * PAUSE_S, GOOD)
    *progress, _ = await import_lines(api, content)
    assert progress[-1] == {"lines": 2, "imported": 1, "refused": 1, "through_line": 3}


async def test_silent_client_is_given_up(api: ApiUnderTest, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    line = GOOD + ENOUGH
    content = pieces(line, IDLE_S - 5, line, b"{", float("inf"))
    *progress, answer = await import_lines(api, content)
    assert trio.current_time() - began == pytest.approx(2 * IDLE_S - 5 + DROP_TIMEOUT_S, abs=5)
    assert (answer["code"], answer["data"]["imported"]) == (2, 2)
    assert answer["message"].startswith("no byte came for 30s")
    assert answer["data"]["through_line"] == 2
    assert len(progress) <= 2 * IDLE_S


async def trickle(pause_s: float, part: bytes) -> AsyncIterator[bytes]:
    """Send a part again and again, for an hour."""
    for _ in range(int(3600 / pause_s)):
        yield part
        await trio.sleep(pause_s)


async def test_client_that_trickles_is_given_up(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    *_, answer = await import_lines(api, trickle(0.5, GOOD + b"\n"))
    assert trio.current_time() - began == pytest.approx(WINDOW_S + DROP_TIMEOUT_S, abs=2)
    assert answer["code"] == 2
    assert answer["message"].startswith("less than 1,024 bytes a second came for 30s")
    assert answer["message"].endswith("send what follows through_line again, faster")
    imported = answer["data"]["imported"]
    assert imported == answer["data"]["through_line"] == await total(api)
    assert imported == pytest.approx(2 * WINDOW_S, abs=3)


async def test_client_that_is_fast_enough_is_not_given_up(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    *_, answer = await import_lines(api, trickle(10, GOOD.ljust(MIN_BYTES_PER_S * 11) + b"\n"))
    assert answer["data"] == data(360)


async def test_client_that_slows_down_is_given_up(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    async def slow_down() -> AsyncIterator[bytes]:
        yield (GOOD + b"\n") * 10_000
        async for part in trickle(1, GOOD + b"\n"):
            yield part

    began = trio.current_time()
    *_, answer = await import_lines(api, slow_down())
    assert trio.current_time() - began <= 2 * WINDOW_S + DROP_TIMEOUT_S + 2
    assert answer["message"].startswith("less than 1,024 bytes")
    assert answer["data"]["imported"] > 10_000


async def test_client_is_not_judged_while_the_database_is_waited_for(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    create_many = api.storage.create_many

    async def take_long(timers: Sequence[NewTimer], now: datetime) -> None:
        await trio.sleep(9)  # a create is given up after 10 s
        await create_many(timers, now)

    monkeypatch.setattr(api.storage, "create_many", take_long)
    began = trio.current_time()
    count = CHUNK_LINES * 12
    *_, answer = await import_lines(api, (GOOD + b"\n") * count)
    assert answer["data"] == data(count)
    assert trio.current_time() - began > 2 * WINDOW_S


async def test_places_of_clients_that_trickle_are_free_again(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_IMPORTS):
            nursery.start_soon(import_lines, api, trickle(0.5, b"\n"))
        await trio.sleep(WINDOW_S - 5)
        busy = await api.client.post("/timers/import", content=GOOD, headers=NDJSON)
        assert busy.status_code == 503
        await trio.sleep(10)
        assert (await import_lines(api, GOOD))[-1]["data"] == data(1)


async def test_what_a_slow_client_has_sent_is_written_when_it_pauses(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    content = pieces(GOOD + b"\n", 3 * PAUSE_S, GOOD + b"\n" + GOOD[:9], 3 * PAUSE_S, GOOD[9:])
    *progress, answer = await import_lines(api, content)
    assert answer["data"] == data(3)
    assert {1, 2} <= {line["imported"] for line in progress}


async def test_fault_of_the_service_ends_an_import_in_words(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(api.storage, "create_many", fail)
    with capture_logs() as logs:
        (answer,) = await import_lines(api, GOOD)
    assert (answer["code"], answer["data"]["through_line"]) == (1, 0)
    assert answer["message"].startswith("internal error")
    assert [log["log_level"] for log in besides_requests(logs)] == ["error", "info"]


async def test_only_some_imports_run_at_once(api: ApiUnderTest, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_IMPORTS):
            nursery.start_soon(import_lines, api, pieces(GOOD, 2.0))
        await trio.sleep(1)
        answer = await api.client.post("/timers/import", content=GOOD, headers=NDJSON)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "imports are under way" in answer.json()["message"]
    assert (await import_lines(api, GOOD))[-1]["data"] == data(1)
    assert await total(api) == MAX_IMPORTS + 1


async def test_one_import_too_many_does_not_wait_in_silence(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    answers: list[dict[str, Any]] = []

    async def send() -> None:
        content = pieces(GOOD, 5.0)
        answer = await api.client.post("/timers/import", content=content, headers=NDJSON)
        answers.append(json.loads(answer.text.splitlines()[-1]))

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_IMPORTS + 1):
            nursery.start_soon(send)
    assert sorted(answer["code"] for answer in answers) == [0] * MAX_IMPORTS + [1]
    (busy,) = [answer["message"] for answer in answers if answer["code"]]
    assert "imports are under way" in busy
    assert await total(api) == MAX_IMPORTS
    assert (await import_lines(api, GOOD))[-1]["code"] == 0


async def test_import_does_not_begin_without_a_database(api: ApiUnderTest) -> None:
    api.health.database_connected = False
    answer = await api.client.post("/timers/import", content=GOOD, headers=NDJSON)
    assert (answer.status_code, answer.json()["code"]) == (503, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "application/x-ndjson; charset=latin-1"},
        {**NDJSON, "Content-Encoding": "gzip"},
    ],
    ids=str,
)
async def test_other_media_are_refused(api: ApiUnderTest, headers: dict[str, str]) -> None:
    answer = await api.client.post("/timers/import", content=GOOD, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, 2)
    assert await total(api) == 0
