from __future__ import annotations

from timer_trio.domain.outcome import (
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Rejected,
    Short,
    TimedOut,
    Unreachable,
    Withheld,
    tells_pace,
)


def test_only_what_came_of_a_send_tells_how_fast_a_destination_is() -> None:
    telling: list[CallbackOutcome] = [
        Delivered(200),
        Rejected(500),
        Unreachable("refused"),
        TimedOut(),
    ]
    assert all(tells_pace(outcome) for outcome in telling)
    silent: list[CallbackOutcome] = [Interrupted(), Withheld(), Broken("TypeError")]
    assert not any(tells_pace(outcome) for outcome in silent)


def test_every_outcome_has_a_name_of_its_own() -> None:
    outcomes = (
        *(Delivered, Rejected, Unreachable, TimedOut),
        *(Interrupted, Withheld, Short, Broken),
    )
    assert len({outcome.name for outcome in outcomes}) == len(outcomes)
