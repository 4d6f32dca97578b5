"""What may be asked twice, method by method, as docs/client.md has it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from timer_trio.client.call import Call, Run
from timer_trio.client.clients import _Operations

URL: Final = "https://example.com/hook"


class Asked:
    """Answers with the question."""

    def ask(self, question: Call[Any] | Run[Any]) -> Call[Any] | Run[Any]:
        return question


ASKED: Final[Any] = Asked()
CLIENT: Final[Any] = _Operations(ASKED)
TIMERS, SCHEDULES = CLIENT.timers, CLIENT.schedules

SAFE: Final = [
    *(TIMERS.page(), TIMERS.get("x"), TIMERS.attempts("x"), TIMERS.get_by_key("x")),
    *(TIMERS.update("x", delay=1), TIMERS.cancel("x")),
    *(SCHEDULES.page(), SCHEDULES.get("x"), SCHEDULES.get_by_name("x")),
    *(SCHEDULES.update("x", every=60), SCHEDULES.end("x"), SCHEDULES.put_by_name("x", URL)),
    *(SCHEDULES.pause("x"), SCHEDULES.resume("x"), SCHEDULES.preview(every=60)),
    *(CLIENT.flows.page(), CLIENT.flows.get("x"), CLIENT.flows.set("x", paused=True)),
    *(CLIENT.destinations.page(), CLIENT.destinations.pause("x")),
    *(CLIENT.destinations.resume("x"), CLIENT.signing_secrets.list()),
    *(CLIENT.pause(), CLIENT.resume(), CLIENT.health(), CLIENT.readiness()),
]
BY_KEY: Final = [
    *(TIMERS.create(URL, delay=1), TIMERS.create_many([{"callback_url": URL, "delay": 1}])),
    SCHEDULES.create(URL, every=60),
]
ONCE: Final = [
    TIMERS.create(URL, delay=1, key="x"),
    TIMERS.create_many([{"callback_url": URL, "delay": 1, "key": "x"}]),
    *(TIMERS.put_by_key("x", URL, delay=1), TIMERS.cancel_by_key("x"), TIMERS.redrive("x")),
    *(SCHEDULES.end_by_name("x"), SCHEDULES.trigger("x")),
    SCHEDULES.backfill("x", first="2030-01-01T00:00:00Z", last="2030-01-02T00:00:00Z"),
    *(CLIENT.flows.delete("x"), CLIENT.signing_secrets.rotate()),
    CLIENT.signing_secrets.delete("x"),
]
RUNS: Final = [TIMERS.import_([]), TIMERS.bulk("cancel", {"status": "pending"})]


def label(call: Any) -> str:
    return f"{getattr(call, 'method', 'POST')} {call.path}"


@pytest.mark.parametrize("call", SAFE, ids=label)
def test_what_changes_nothing_more_the_second_time_is_safe(call: Call[Any]) -> None:
    assert (call.is_safe, call.takes_key) == (True, False)


@pytest.mark.parametrize("call", BY_KEY, ids=label)
def test_what_creates_is_made_safe_by_a_key(call: Call[Any]) -> None:
    assert (call.is_safe, call.takes_key, call.idempotency_key) == (False, True, None)


@pytest.mark.parametrize("call", ONCE, ids=label)
def test_what_would_be_done_twice_is_asked_once(call: Call[Any]) -> None:
    assert (call.is_safe, call.takes_key, call.idempotency_key) == (False, False, None)


def test_what_takes_long_is_begun_once() -> None:
    assert all(isinstance(run, Run) for run in RUNS)


def test_no_method_is_forgotten() -> None:
    parts = [CLIENT, *(part for part in vars(CLIENT).values() if part is not ASKED)]
    methods = [name for part in parts for name in dir(type(part)) if not name.startswith("_")]
    lists = methods.count("list") - 1  # that of secrets has one page alone
    named_twice = 2
    assert len(methods) - lists == len([*SAFE, *BY_KEY, *ONCE, *RUNS]) - named_twice
