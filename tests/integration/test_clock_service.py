"""`serve --test-clock` over real HTTP: time stands still, and passes when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import trio

from tests.api_under_test import ApiUnderTest
from tests.virtual import PATIENCE_S, START, Arrived, Virtual, instant, virtual_service
from timer_trio.domain.virtual_time import ClockResetError

SOON_S: Final = 0.3
"""Of real time, in which what is due now, or would be, has long been sent."""
HOUR: Final = timedelta(hours=1)


@pytest.fixture
async def virtual() -> AsyncIterator[Virtual]:
    async with virtual_service() as running:
        yield running


async def test_time_stands_still_between_advances(virtual: Virtual) -> None:
    timer_id = await virtual.create(delay=0.000001)
    await trio.sleep(SOON_S)
    assert await virtual.now() == START
    assert not virtual.arrived
    assert (await virtual.timer(timer_id))["status"] == "pending"
    [fired] = await virtual.advance(60)
    assert fired["id"] == timer_id
    await trio.sleep(SOON_S)
    assert await virtual.passed() == timedelta(seconds=60)
    assert len(virtual.arrived) == 1


async def test_service_rests_while_time_stands(virtual: Virtual) -> None:
    """What is due within microseconds does not keep it busy."""
    await virtual.create(delay=0.000001)
    await virtual.create(delay=0.05)
    counter = Turns()
    trio.lowlevel.add_instrument(counter)
    await trio.sleep(SOON_S)
    trio.lowlevel.remove_instrument(counter)
    assert counter.steps < 100


class Turns(trio.abc.Instrument):
    """Counts how often any task went on."""

    def __init__(self) -> None:
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's signature
        self.steps += 1


async def test_advance_tells_what_was_fired(virtual: Virtual) -> None:
    timer_id = await virtual.create(delay=3600, callback_payload={"order": 1})
    [fired] = await virtual.advance(2 * 3600)
    due = (START + HOUR).isoformat().replace("+00:00", "Z")
    assert fired == {
        "id": timer_id,
        "attempt": 1,
        "status": "completed",
        "http_status": 200,
        "last_error": None,
        "callback_url": virtual.callback_url,
        "due_at": due,
        "sent_at": due,
        "next_attempt_at": None,
    }
    [arrived] = virtual.arrived
    assert arrived.payload == {"order": 1}
    assert arrived.at == START + HOUR
    assert (await virtual.timer(timer_id))["status"] == "completed"
    assert await virtual.passed() == 2 * HOUR
    assert await virtual.advance(3600) == []


async def test_nothing_falls_due_a_microsecond_before(virtual: Virtual) -> None:
    timer_id = await virtual.create(delay=3600)
    assert await virtual.advance(to=START + HOUR - timedelta(microseconds=1)) == []
    assert (await virtual.data("DELETE", f"/timers/{timer_id}"))["status"] == "canceled"
    other = await virtual.create(execute_at=(START + HOUR).isoformat())
    [fired] = await virtual.advance(to=START + HOUR)
    assert fired["id"] == other


async def test_hour_of_retries_passes_in_one_advance(virtual: Virtual) -> None:
    async def fail_four_times(arrived: Arrived) -> int:
        return 503 if arrived.attempt < 5 else 200

    virtual.play = fail_four_times
    delays = [60, 120, 600, 1800]
    timer_id = await virtual.create(delay=60, retry={"delays": delays, "jitter": 0})
    fired = await virtual.advance(3600)
    assert [each["attempt"] for each in fired] == [1, 2, 3, 4, 5]
    assert [each["status"] for each in fired] == ["retrying"] * 4 + ["completed"]
    assert [each["http_status"] for each in fired] == [503] * 4 + [200]
    due = [instant(each["due_at"]) for each in fired]
    assert [arrived.at for arrived in virtual.arrived] == due
    passed = [(later - earlier).total_seconds() for earlier, later in zip(due, due[1:])]  # noqa: B905, RUF007 - pairs
    assert passed == delays
    assert [each["next_attempt_at"] for each in fired[:-1]] == [
        each["due_at"] for each in fired[1:]
    ]
    assert (await virtual.timer(timer_id))["attempt"] == 5


async def test_schedules_follow_their_rules_over_a_month() -> None:
    march = datetime(2030, 3, 1, tzinfo=UTC)
    async with virtual_service(march) as virtual:
        rules: dict[str, dict[str, Any]] = {
            "daily": {"cron": "0 9 * * *", "timezone": "Europe/Berlin"},
            "weekly": {"cron": "0 12 * * MON"},
            "monthly": {"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=18;BYMINUTE=0;BYSECOND=0"},
            "every": {"every": 86_400 * 10},
        }
        for name, rule in rules.items():
            wanted = {**rule, "callback_url": virtual.callback_url, "callback_payload": name}
            await virtual.data("POST", "/schedules", json=wanted)
        fired = await virtual.advance(to=datetime(2030, 4, 1, tzinfo=UTC))
        by_name: dict[str, list[datetime]] = {}
        for arrived in virtual.arrived:
            by_name.setdefault(arrived.payload, []).append(arrived.at)
        # Clocks go forward on the last Sunday.
        hours = [8] * 30 + [7]
        daily = [
            datetime(2030, 3, day, hour, tzinfo=UTC) for day, hour in enumerate(hours, start=1)
        ]
        assert by_name["daily"] == daily
        assert by_name["weekly"] == [datetime(2030, 3, d, 12, tzinfo=UTC) for d in (4, 11, 18, 25)]
        assert by_name["monthly"] == [datetime(2030, 3, 31, 18, tzinfo=UTC)]
        assert len(by_name["every"]) == 3
        assert len(fired) == len(virtual.arrived)


async def test_instants_come_in_their_order(virtual: Virtual) -> None:
    delays = [30, 10, 20, 3000, 10.5, 86_400, 0.001]
    for delay in delays:
        await virtual.create(delay=delay, callback_payload=delay)
    fired = await virtual.advance(90_000)
    assert [arrived.payload for arrived in virtual.arrived] == sorted(delays)
    due = [instant(each["due_at"]) for each in fired]
    assert due == sorted(due)
    assert [arrived.at for arrived in virtual.arrived] == due


async def test_timers_that_a_receiver_creates_are_fired_as_well(virtual: Virtual) -> None:
    async def again(arrived: Arrived) -> int:
        if arrived.payload < 10:
            await virtual.create(delay=600, callback_payload=arrived.payload + 1)
        return 200

    virtual.play = again
    await virtual.create(delay=600, callback_payload=1)
    fired = await virtual.advance(5400)
    assert len(fired) == 9
    assert [arrived.at - START for arrived in virtual.arrived] == [
        timedelta(seconds=600 * number) for number in range(1, 10)
    ]
    assert len(await virtual.advance(600)) == 1


async def test_results_are_fired_as_well(virtual: Virtual) -> None:
    done = {"url": f"{virtual.callback_url}/done"}
    timer_id = await virtual.create(delay=3600, on_completed=done)
    first, result = await virtual.advance(3600)
    assert first["id"] == timer_id
    assert result["callback_url"].endswith("/hook/done")
    assert result["due_at"] == first["due_at"]
    assert (await virtual.timer(result["id"]))["parent_id"] == timer_id


async def test_what_is_due_now_is_sent_at_once_and_told_by_the_next_advance(
    virtual: Virtual,
) -> None:
    timer_id = await virtual.create(delay=0)
    [fired] = await virtual.advance(0)
    assert fired["id"] == timer_id
    assert await virtual.passed() == timedelta(0)
    await virtual.data("POST", f"/timers/{timer_id}/redrive")
    [fired] = await virtual.advance(0)
    assert fired["attempt"] == 2


async def test_receiver_that_hangs_fails_its_own_attempt_in_real_time(virtual: Virtual) -> None:
    async def hang(arrived: Arrived) -> int:
        if arrived.payload == "hangs":
            await trio.sleep_forever()
        return 200

    virtual.play = hang
    ill = await virtual.create(delay=60, callback_payload="hangs", timeout_seconds=0.5)
    well = await virtual.create(delay=60, callback_payload="answers", timeout_seconds=0.5)
    later = await virtual.create(delay=3600, callback_payload="answers", timeout_seconds=0.1)
    began = trio.current_time()
    fired = await virtual.advance(86_400)
    assert 0.5 <= trio.current_time() - began < 5
    statuses = {each["id"]: (each["status"], each["last_error"]) for each in fired}
    assert statuses == {
        ill: ("failed", "timed out after 0.5s"),
        well: ("completed", None),
        later: ("completed", None),
    }
    # Virtual time stood still for it.
    assert instant(next(e for e in fired if e["id"] == later)["sent_at"]) == START + HOUR


async def test_receiver_may_take_real_time_that_is_longer_than_the_virtual(
    virtual: Virtual,
) -> None:
    async def slow(_: Arrived) -> int:
        await trio.sleep(SOON_S)
        return 200

    virtual.play = slow
    await virtual.create(delay=0.1)
    await virtual.create(delay=0.2)
    fired = await virtual.advance(0.2)
    assert [each["status"] for each in fired] == ["completed", "completed"]
    assert [arrived.at - START for arrived in virtual.arrived] == [
        timedelta(seconds=0.1),
        timedelta(seconds=0.2),
    ]


async def test_many_at_one_instant_are_all_fired(virtual: Virtual) -> None:
    for number in range(0, 300, 100):
        timers = [
            {"delay": 60, "callback_url": virtual.callback_url, "callback_payload": number + each}
            for each in range(100)
        ]
        await virtual.data("POST", "/timers/batch", json={"timers": timers})
    fired = await virtual.advance(60)
    assert len(fired) == 300
    assert sorted(arrived.payload for arrived in virtual.arrived) == list(range(300))
    assert {arrived.at for arrived in virtual.arrived} == {START + timedelta(seconds=60)}


async def test_what_is_held_back_waits_for_its_gate_and_not_the_advance(virtual: Virtual) -> None:
    rate = {"rate": {"count": 1, "per_seconds": 600}}
    await virtual.data("PUT", "/flows/slow", json=rate)
    for _ in range(3):
        await virtual.create(delay=60, flow_key="slow")
    await virtual.data("POST", "/pause")
    assert await virtual.advance(120) == []
    await virtual.data("POST", "/resume")
    fired = await virtual.advance(3600)
    assert [each["status"] for each in fired] == ["completed"] * 3
    sent = [instant(each["sent_at"]) - START for each in fired]
    expected = [timedelta(seconds=120 + 600 * number) for number in range(3)]
    for actual, wanted in zip(sent, expected, strict=True):
        assert timedelta(0) <= actual - wanted < timedelta(milliseconds=1)


async def fail_behind_breaker(virtual: Virtual, **breaker: int) -> None:
    """Have each callback fail, and a breaker count it."""

    async def fail(_: Arrived) -> int:
        return 500

    virtual.play = fail
    await virtual.data("PUT", "/projects/default", json={"breaker": breaker})


async def test_breaker_lets_its_probe_go_in_virtual_time(virtual: Virtual) -> None:
    await fail_behind_breaker(virtual, failures=2, open_seconds=120)
    for delay in (60, 61, 62):
        await virtual.create(delay=delay)
    fired = await virtual.advance(3600)
    sent = [(instant(each["sent_at"]) - START).total_seconds() for each in fired]
    assert sent[:2] == [60, 61]
    assert sent[2] == pytest.approx(181, abs=0.001)


async def test_what_is_missed_is_written_before_the_answer(virtual: Virtual) -> None:
    await fail_behind_breaker(virtual, failures=1, open_seconds=600)
    await virtual.create(delay=60)
    missed = await virtual.create(delay=61, misfire_grace_seconds=1)
    assert len(await virtual.advance(660.000001)) == 1
    timer = await virtual.timer(missed)
    assert timer["status"] == "failed"
    assert timer["last_error"].startswith("missed: ")


async def test_concurrent_advances_are_made_one_after_the_other(virtual: Virtual) -> None:
    async def slow(_: Arrived) -> int:
        await trio.sleep(0.05)
        return 200

    virtual.play = slow
    for number in range(1, 11):
        await virtual.create(delay=60 * number)
    told: list[list[Any]] = []

    async def advance() -> None:
        told.append(await virtual.advance(60))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(advance)
    assert await virtual.passed() == timedelta(seconds=600)
    assert [len(fired) for fired in told] == [1] * 10
    sent = [fired[0]["sent_at"] for fired in told]
    assert sent == sorted(set(sent))


async def test_reset_empties_all_and_sets_the_clock_back(virtual: Virtual) -> None:
    timer_id = await virtual.create(delay=60, key="name")
    await virtual.create(delay=7200)
    secret = await virtual.data("GET", "/signing-secrets")
    schedule = {"every": 60, "callback_url": virtual.callback_url}
    await virtual.data("POST", "/schedules", json=schedule)
    await virtual.data("POST", "/projects", json={"name": "other"})
    await virtual.data("POST", "/pause")
    await virtual.advance(3600)
    assert (await virtual.data("POST", "/clock/reset")) == {"now": "2030-01-01T00:00:00Z"}
    assert await virtual.now() == START
    assert (await virtual.ask("GET", f"/timers/{timer_id}")).status_code == 404
    assert (await virtual.data("GET", "/timers"))["total"] == 0
    assert (await virtual.data("GET", "/schedules"))["schedules"] == []
    assert (await virtual.ask("GET", "/projects/other")).status_code == 404
    assert await virtual.data("GET", "/signing-secrets") != secret
    virtual.arrived.clear()
    again = await virtual.create(delay=60, key="name")
    assert [each["id"] for each in await virtual.advance(86_400)] == [again]
    assert len(virtual.arrived) == 1


async def test_reset_in_the_midst_breaks_off_what_is_under_way(virtual: Virtual) -> None:
    async def hang(_: Arrived) -> int:
        begun.set()
        await trio.sleep_forever()
        return 200

    async def advance() -> None:
        answers.append(await virtual.ask("POST", "/clock/advance", json={"seconds": 60}))

    begun, answers = trio.Event(), list[Any]()
    virtual.play = hang
    await virtual.create(delay=60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(advance)
        nursery.start_soon(advance)
        await begun.wait()
        ended = virtual.service._world
        await virtual.data("POST", "/clock/reset")
    # As one is told that was asked for while all this ended.
    with trio.fail_after(PATIENCE_S), pytest.raises(ClockResetError):
        await ended.advance_by(HOUR)
    assert [answer.status_code for answer in answers] == [409, 409]
    assert "reset" in answers[0].json()["message"]
    assert await virtual.now() == START
    assert await virtual.advance(3600) == []


async def test_concurrent_resets_are_made_one_after_the_other(virtual: Virtual) -> None:
    async def reset() -> None:
        await virtual.data("POST", "/clock/reset")

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(reset)
    assert len(virtual.service._worlds.child_tasks) == 1
    timer_id = await virtual.create(delay=60)
    assert [each["id"] for each in await virtual.advance(60)] == [timer_id]


async def test_clock_begins_with_the_machines_time_if_no_start_is_named() -> None:
    async with virtual_service(None) as virtual:
        machine = datetime.now(UTC)  # noqa: TID251 - that of whoever uses the service
        assert timedelta(0) <= machine - await virtual.now() < timedelta(seconds=10)
        # As an app does that knows nothing of the clock.
        await virtual.create(execute_at=(machine + HOUR).isoformat())
        assert len(await virtual.advance(3600 + 10)) == 1


BAD: Final[dict[str, tuple[str, str]]] = {
    "neither": ("{}", "seconds or to is required"),
    "both": (
        '{"seconds": 1, "to": "2031-01-01T00:00:00Z"}',
        "seconds and to exclude each other",
    ),
    "negative": ('{"seconds": -1}', "seconds: must not be negative"),
    "NaN": ('{"seconds": NaN}', "seconds: NaN is not JSON"),
    "infinite": ('{"seconds": Infinity}', "seconds: Infinity is not JSON"),
    "too many digits": ('{"seconds": 1e400}', "seconds"),
    "true": ('{"seconds": true}', "seconds: must be a number"),
    "text": ('{"seconds": "60"}', "seconds: must be a number"),
    "null": ('{"seconds": null}', "seconds: must be a number"),
    "far by seconds": ('{"seconds": 1e9}', "seconds: must be at most 10 years"),
    "far by instant": ('{"to": "2045-01-01T00:00:00Z"}', "to: is more than 3,660 days ahead"),
    "last year": ('{"to": "9999-12-31T23:59:59Z"}', "to: is more than 3,660 days ahead"),
    "backwards": ('{"to": "2029-12-31T23:59:59Z"}', "to: lies before the time that the clock"),
    "no offset": ('{"to": "2030-01-02T00:00:00"}', "to: must be an RFC 3339 timestamp"),
    "no instant": ('{"to": "2030-02-30T00:00:00Z"}', "to: names no date and time"),
    "number": ('{"to": 1900000000}', "to: must be a string"),
    "unknown": ('{"second": 1}', "second: is not a field of an advance; did you mean seconds?"),
    "twice": ('{"seconds": 1, "seconds": 2}', "seconds"),
    "array": ("[1]", "the body must be a JSON object"),
    "nothing": ("", "the body"),
    "no JSON": ("{", ""),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_advance_is_refused_in_words_and_moves_nothing(
    virtual: Virtual, case: str
) -> None:
    content, words = BAD[case]
    headers = {"Content-Type": "application/json"}
    answer = await virtual.ask("POST", "/clock/advance", content=content, headers=headers)
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["code"] == 2
    assert words in body["message"]
    assert body["data"]["errors"]
    assert await virtual.now() == START


async def test_clock_stops_before_the_calendar_ends() -> None:
    async with virtual_service(datetime(9899, 1, 1, tzinfo=UTC)) as virtual:
        wanted = {"to": "9901-01-01T00:00:00Z"}
        answer = await virtual.ask("POST", "/clock/advance", json=wanted)
        assert answer.status_code == 400
        assert "beyond the year 9900" in answer.json()["message"]
        await virtual.create(delay=60)
        assert len(await virtual.advance(120)) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/clock/advance", 405),
        ("DELETE", "/clock", 405),
        ("GET", "/clock/reset", 405),
        ("GET", "/clock/other", 404),
    ],
)
async def test_other_methods_and_paths_are_refused(
    virtual: Virtual, method: str, path: str, status: int
) -> None:
    assert (await virtual.ask(method, path)).status_code == status


async def test_reset_takes_no_fields(virtual: Virtual) -> None:
    answer = await virtual.ask("POST", "/clock/reset", json={"to": "2030-01-01T00:00:00Z"})
    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/clock/advance", "/clock/reset"])
async def test_clock_is_moved_with_the_key_of_the_service_alone(
    virtual: Virtual, path: str
) -> None:
    made = {"name": "k", "scopes": ["admin"]}
    key = (await virtual.data("POST", "/keys", json=made))["key"]
    for headers, status in (({"X-API-Key": "wrong" * 8}, 401), ({"X-API-Key": key}, 403)):
        answer = await virtual.ask("POST", path, json={"seconds": 1}, headers=headers)
        assert answer.status_code == status
    assert await virtual.now() == START


async def test_chain_without_an_end_is_broken_off(
    virtual: Virtual, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_trio.testing.world.MOST_FIRED", 20)
    ended = trio.Event()

    async def again(_: Arrived) -> int:
        if len(virtual.arrived) < 40:  # it does end, so that nothing of it outlives this test
            await virtual.create(delay=0)
        else:
            ended.set()
        return 200

    virtual.play = again
    await virtual.create(delay=60)
    answer = await virtual.ask("POST", "/clock/advance", json={"seconds": 3600})
    assert answer.status_code == 409
    assert answer.json()["code"] == 5
    assert "has come to 2030-01-01T00:01:00Z" in answer.json()["message"]
    with trio.fail_after(PATIENCE_S):
        await ended.wait()


async def test_instants_without_an_end_are_broken_off(
    virtual: Virtual, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_trio.testing.world.MOST_INSTANTS", 20)
    await virtual.data("POST", "/pause")
    rule = {"every": 60, "callback_url": virtual.callback_url}
    await virtual.data("POST", "/schedules", json=rule)
    answer = await virtual.ask("POST", "/clock/advance", json={"seconds": 86_400})
    assert answer.status_code == 409
    assert timedelta(0) < await virtual.passed() < timedelta(days=1)


async def test_it_is_loud_about_being_no_real_service(virtual: Virtual) -> None:
    for path in ("/", "/health", "/timers", "/nowhere", "/clock"):
        answer = await virtual.ask("GET", path)
        assert answer.headers["x-test-clock"] == "2030-01-01T00:00:00Z"
    await virtual.advance(60)
    assert (await virtual.ask("GET", "/")).headers["x-test-clock"] == "2030-01-01T00:01:00Z"
    health = await virtual.data("GET", "/health")
    assert any("no real timer service" in each for each in health["warnings"])
    assert "no real timer service" in (await virtual.data("GET", "/"))["warning"]
    page = (await virtual.ask("GET", "/", headers={"Accept": "text/html"})).text
    assert "no real timer service" in page


async def test_its_document_has_the_routes_of_the_clock(virtual: Virtual) -> None:
    paths = (await virtual.ask("GET", "/openapi.json")).json()["paths"]
    assert {path for path in paths if path.startswith("/clock")} == {
        "/clock",
        "/clock/advance",
        "/clock/reset",
    }
    assert (await virtual.ask("GET", "/docs")).status_code == 200


async def test_real_service_has_no_routes_of_the_clock() -> None:
    api = ApiUnderTest()
    for method, path in (("GET", ""), ("POST", "/advance"), ("POST", "/reset")):
        answer = await api.client.request(method, f"/clock{path}", json={"seconds": 1})
        assert answer.status_code == 404
        assert "x-test-clock" not in answer.headers
    assert "/clock" not in (await api.client.get("/openapi.json")).text
    assert "warning" not in (await api.client.get("/")).json()["data"]
