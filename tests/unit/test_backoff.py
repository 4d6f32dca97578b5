from __future__ import annotations

import pytest

from timer_trio.backoff import LONG_LIFE_S, Backoff, restart_pause_s


def pauses_s(backoff: Backoff, count: int) -> list[float]:
    pauses = [0.0]
    for _ in range(count):
        pauses.append(backoff.next_s(pauses[-1]))
    return pauses[1:]


def test_pause_doubles_up_to_the_longest() -> None:
    assert pauses_s(Backoff(first_s=0.05, longest_s=1), 7) == pytest.approx(
        [0.05, 0.1, 0.2, 0.4, 0.8, 1, 1]
    )


def test_restarts_wait_longer_each_time_while_a_process_dies_young() -> None:
    pauses = [0.0]
    for _ in range(8):
        pauses.append(restart_pause_s(pauses[-1], lived_s=1))
    assert pauses[1:] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])


def test_restart_waits_hardly_after_a_long_life() -> None:
    assert restart_pause_s(5, LONG_LIFE_S) == 0.1
    assert restart_pause_s(5, LONG_LIFE_S - 1) == 5
