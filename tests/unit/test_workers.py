from __future__ import annotations

import pytest

from timer_trio.workers import FIRST_PAUSE_S, LONG_LIFE_S, LONGEST_PAUSE_S, next_pause_s


def test_pause_doubles_up_to_its_limit_while_workers_die_young() -> None:
    pauses = [0.0]
    for _ in range(8):
        pauses.append(next_pause_s(pauses[-1], lived_s=1))
    assert pauses[1:] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])


def test_pause_is_short_again_after_a_long_life() -> None:
    assert next_pause_s(LONGEST_PAUSE_S, LONG_LIFE_S) == FIRST_PAUSE_S
    assert next_pause_s(LONGEST_PAUSE_S, LONG_LIFE_S - 1) == LONGEST_PAUSE_S
