from __future__ import annotations

from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.unit.parts import AHEAD_S, PROMPT, REACH_S, SOON_S, Parts, Sizes, open_cache
from timer_trio.callback_url import read_url
from timer_trio.delivery import claimer
from timer_trio.delivery.claimer import IN_LINE_PAUSE_S, LAST_CLAIMS_S
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.probes import Granted, ProbeEnd
from timer_trio.domain.slots import NEW_SLOTS, TOP_UP_PAUSE_S
from timer_trio.domain.timer import DueTimer, Status, TimerId
from timer_trio.run.stages import deliver

ELSEWHERE: Final = "https://elsewhere.example/hook"


async def run(parts: Parts) -> trio.Event:
    """Run the claimer, and those who fire what it gets; the event is set when all have ended."""
    ended = trio.Event()

    async def run_until_ended() -> None:
        await deliver(
            parts.claimer,
            parts.launcher,
            parts.firer,
            parts.lifecycle,
            parts.lifecycle.give_back,
        )
        ended.set()

    parts.nursery.start_soon(run_until_ended)
    await wait_all_tasks_blocked()
    return ended


async def add(parts: Parts, in_s: float, url: str = "https://example.com/hook") -> DueTimer:
    """Create a timer and put it on the agenda."""
    timer = await parts.create(in_s, callback_url=read_url(url))
    open_cache(parts.agenda)
    parts.agenda.add([timer])
    return timer


def asked(parts: Parts) -> list[list[TimerId]]:
    return [list(each.timer_ids) for each in parts.database.asked]


async def test_timer_is_claimed_shortly_before_its_instant(parts: Parts) -> None:
    await run(parts)
    timer = await add(parts, 10)
    await trio.sleep(10 + SOON_S)
    (claim,) = parts.database.asked
    assert claim.at_s == pytest.approx(10 - AHEAD_S, abs=0.01)
    (sent,) = parts.receivers.sent
    assert (sent.timer_id, 0 <= sent.late_s < 0.01) == (timer.id, True)


async def test_claim_takes_what_falls_due_soon_after_along(parts: Parts) -> None:
    first, soon, later = [
        await add(parts, in_s) for in_s in (10, 10 - AHEAD_S + REACH_S - 0.1, 10 + REACH_S)
    ]
    await run(parts)
    await trio.sleep(20)
    assert asked(parts) == [[first.id, soon.id], [later.id]]


async def test_nearer_timer_is_claimed_in_time(parts: Parts) -> None:
    await run(parts)
    await add(parts, 100)
    await trio.sleep(1)
    near = await add(parts, 0)
    await trio.sleep(SOON_S)
    assert parts.receivers.called == [near.id]


async def test_idle_claimer_asks_for_nothing(parts: Parts) -> None:
    await run(parts)
    await trio.sleep(3_600)
    assert asked(parts) == []


async def test_nothing_is_claimed_without_a_lease(parts: Parts) -> None:
    parts.heartbeat.lose(parts.heartbeat.replica)
    await run(parts)
    timer = await add(parts, 0)
    await trio.sleep(60)
    assert asked(parts) == []
    await parts.heartbeat.join(alone=False)
    await trio.sleep(SOON_S)
    assert parts.receivers.called == [timer.id]


async def test_claims_stay_small_enough_for_others_to_pass(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimer, "MAX_CLAIMS", 3)
    timers = [await add(parts, 10 + n / 100) for n in range(7)]
    await run(parts)
    await trio.sleep(10)
    assert sorted(len(claim) for claim in asked(parts)) == [1, 3, 3]
    assert {timer_id for claim in asked(parts) for timer_id in claim} == {t.id for t in timers}


async def test_outcomes_that_are_not_written_keep_others_from_being_claimed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimer, "MAX_OPEN", 2)
    parts.database.delay_s["settle"] = 5
    timers = [await add(parts, 0) for _ in range(4)]
    await run(parts)
    await trio.sleep(4)
    assert (len(parts.receivers.sent), len(parts.settler)) == (2, 2)
    await trio.sleep(2)
    assert sorted(parts.receivers.called) == sorted(timer.id for timer in timers)


@pytest.mark.parametrize("parts", [Sizes(slots=1_000)], indirect=True)
async def test_first_callbacks_to_a_destination_do_not_wait_for_its_first_answer(
    parts: Parts,
) -> None:
    parts.receivers.answer_s = 0.5
    for n in range(NEW_SLOTS * 3):
        await add(parts, 1 + n * 0.01, ELSEWHERE)
    await run(parts)
    await trio.sleep(3)
    late_s = [sent.late_s for sent in parts.receivers.sent]
    assert (len(late_s), max(late_s) < 0.01) == (NEW_SLOTS * 3, True)


@pytest.mark.parametrize("parts", [Sizes(slots_per_destination=1)], indirect=True)
async def test_timer_without_a_slot_stays_pending_until_one_is_free(parts: Parts) -> None:
    parts.receivers.answer_s = 3
    first, second = await add(parts, 0), await add(parts, 0.001)
    await run(parts)
    await trio.sleep(2.9)
    assert parts.receivers.called == [first.id]
    assert await parts.status(second.id) is Status.PENDING
    await trio.sleep(0.1 + SOON_S)
    assert parts.receivers.called == [first.id, second.id]


@pytest.mark.parametrize(("in_line", "pause_s"), [((), 0.0), (("somebody",), IN_LINE_PAUSE_S)])
@pytest.mark.parametrize("parts", [Sizes(slots=1)], indirect=True)
async def test_who_stands_in_line_puts_a_claim_for_the_next_slots_off(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, in_line: tuple[str, ...], pause_s: float
) -> None:
    monkeypatch.setattr(parts.claimer, "_lines", in_line)
    parts.receivers.answer_s = 3
    await add(parts, 0)
    second = await add(parts, 0.001, ELSEWHERE)
    await run(parts)
    await trio.sleep(3 + SOON_S)
    assert [each.timer_ids for each in parts.database.asked][-1] == [second.id]
    assert parts.database.asked[-1].at_s == pytest.approx(3 + TOP_UP_PAUSE_S + pause_s, abs=0.005)


@pytest.mark.parametrize("parts", [Sizes(slots_per_destination=1)], indirect=True)
async def test_full_destination_holds_up_no_other(parts: Parts) -> None:
    parts.receivers.answer_s = 60
    first = await add(parts, 0)
    await add(parts, 0.001)
    other = await add(parts, 0.002, ELSEWHERE)
    await run(parts)
    await trio.sleep(SOON_S)
    assert parts.receivers.called == [first.id, other.id]


@pytest.mark.parametrize("parts", [Sizes(max_timers=64)], indirect=True)
async def test_what_the_cache_left_out_is_asked_for_once_there_is_room(parts: Parts) -> None:
    for n in range(9):
        await add(parts, 10 + n)
    await run(parts)
    await trio.sleep(1)
    assert parts.agenda.refill.take().near is False
    await trio.sleep(20)
    assert parts.agenda.refill.take().near is True


async def test_stop_gives_back_what_is_not_sent_and_waits_for_answers(parts: Parts) -> None:
    parts.receivers.answer_s = 5
    sent, claimed, later = [await add(parts, in_s) for in_s in (0, 1, 60)]
    ended = await run(parts)
    await trio.sleep(0.5)
    parts.lifecycle.drain()
    await trio.sleep(4)
    assert not ended.is_set()
    assert await parts.status(claimed.id) is Status.PENDING
    await trio.sleep(1)
    assert ended.is_set()
    assert await parts.outcome(sent.id) == (Status.COMPLETED, None)
    assert await parts.status(later.id) is Status.PENDING
    assert (parts.receivers.called, parts.agenda.slots.in_use) == ([sent.id], 0)


async def test_nothing_is_claimed_after_a_stop(parts: Parts) -> None:
    ended = await run(parts)
    parts.lifecycle.drain()
    timer = await add(parts, 0)
    await trio.sleep(60)
    assert (ended.is_set(), asked(parts)) == (True, [])
    assert await parts.status(timer.id) is Status.PENDING


async def test_right_to_probe_is_kept_from_nobody_after_a_stop(parts: Parts) -> None:
    gates, now_s = parts.agenda.gates, parts.clock.now().timestamp()
    gates.set_policy(PROMPT.project, BreakerPolicy(failures=1, open_s=1))
    failed = parts.due()
    gates.end(failed, now_s, has_failed=True)
    assert gates.hold(PROMPT, PROMPT, now_s + 1)
    gates.breakers.take(PROMPT, Granted(failed.due_at), now_s + 1)
    parts.lifecycle.drain()
    await parts.claimer.run()
    assert gates.breakers.ends(9) == [ProbeEnd(PROMPT, failed.due_at)]


async def test_stop_waits_for_the_answer_to_a_claim_and_gives_its_timers_back(
    parts: Parts,
) -> None:
    parts.database.delay_s["claim"] = LAST_CLAIMS_S - 1
    timer = await add(parts, 0)
    ended = await run(parts)
    await trio.sleep(0.5)
    parts.lifecycle.drain()
    await ended.wait()
    assert await parts.outcome(timer.id) == (Status.PENDING, None)
    assert (parts.receivers.called, parts.agenda.slots.in_use) == ([], 0)


async def test_what_is_claimed_is_sent_in_time_while_a_stop_waits_for_the_last_claim(
    parts: Parts,
) -> None:
    claimed = await add(parts, 1)
    ended = await run(parts)
    await trio.sleep(0.6)
    parts.database.delay_s["claim"] = 2
    asked_for = await add(parts, 0.1)
    await trio.sleep(SOON_S)
    parts.lifecycle.drain()
    await ended.wait()
    assert await parts.outcome(claimed.id) == (Status.COMPLETED, None)
    assert await parts.outcome(asked_for.id) == (Status.PENDING, None)
    assert parts.receivers.called == [claimed.id]


async def test_stop_does_not_wait_for_a_database_that_is_away(parts: Parts) -> None:
    await add(parts, 0)
    parts.database.is_away = True
    ended = await run(parts)
    await trio.sleep(1)
    parts.lifecycle.drain()
    stopped_s = trio.current_time()
    await ended.wait()
    assert trio.current_time() - stopped_s == pytest.approx(LAST_CLAIMS_S)


async def test_interrupted_it_waits_for_no_answer(parts: Parts) -> None:
    parts.receivers.answer_s = 60
    timer = await add(parts, 0)
    ended = await run(parts)
    await trio.sleep(1)
    parts.lifecycle.drain()
    parts.lifecycle.close()
    interrupted_s = trio.current_time()
    await ended.wait()
    assert trio.current_time() == interrupted_s
    assert await parts.status(timer.id) is Status.EXECUTING
    assert parts.agenda.slots.in_use == 0


async def test_interrupted_it_gives_back_what_is_not_sent_and_fences_nothing(parts: Parts) -> None:
    parts.receivers.connect_s = 60
    connecting, asleep = await add(parts, 0), await add(parts, 1.5)
    ended = await run(parts)
    await trio.sleep(1)
    parts.lifecycle.close()
    await ended.wait()
    for timer in (connecting, asleep):
        assert await parts.outcome(timer.id) == (Status.PENDING, None)
    assert (parts.agenda.slots.in_use, parts.sample("fenced_total")) == (0, 0)
