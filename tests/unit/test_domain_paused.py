from __future__ import annotations

from timer_trio.domain.paused import FIRST_PAUSE_S, LONGEST_PAUSE_S, PausedItems


def test_nothing_waits_in_the_beginning() -> None:
    retries: PausedItems[str] = PausedItems()
    assert (len(retries), retries.next_s) == (0, float("inf"))
    assert retries.take(1e9, 10) == []


def test_each_waits_for_its_first_pause() -> None:
    retries: PausedItems[str] = PausedItems()
    retries.add("a", 10.0)
    retries.add("b", 10.01)
    assert retries.next_s == 10.0 + FIRST_PAUSE_S
    assert retries.take(10.0, 10) == []
    assert [retry.item for retry in retries.take(10.0 + FIRST_PAUSE_S, 10)] == ["a"]
    assert len(retries) == 1


def test_no_more_are_taken_than_asked_for_and_the_first_come_first() -> None:
    retries: PausedItems[int] = PausedItems()
    for number in range(5):
        retries.add(number, 0.0)
    assert [retry.item for retry in retries.take(1.0, 3)] == [0, 1, 2]
    assert [retry.item for retry in retries.take(1.0, 3)] == [3, 4]


def test_a_pause_doubles_with_each_try_up_to_the_longest() -> None:
    retries: PausedItems[str] = PausedItems()
    retries.add("a", 0.0)
    pauses_s: list[float] = []
    now_s = 0.0
    for _ in range(8):
        pauses_s.append(retries.next_s - now_s)
        now_s = retries.next_s
        (retry,) = retries.take(now_s, 1)
        retries.again(retry, now_s)
    assert pauses_s[0] == FIRST_PAUSE_S
    assert [round(pause_s, 6) for pause_s in pauses_s[1:4]] == [
        round(FIRST_PAUSE_S * 2**n, 6) for n in (1, 2, 3)
    ]
    assert round(pauses_s[-1], 6) == LONGEST_PAUSE_S
