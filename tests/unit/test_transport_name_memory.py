from __future__ import annotations

import pytest

from timer_trio.transport.name_memory import MAX_FAILURES, MAX_NAMES, Failure, NameMemory

FOUND = (("192.0.2.7", 0),)
MISSING = Failure("Name or service not known")


@pytest.mark.parametrize(
    ("age_s", "fresh", "old"), [(4.9, FOUND, FOUND), (5.1, None, FOUND), (60.1, None, None)]
)
def test_success_is_fresh_for_5_s_and_of_use_for_60(
    age_s: float, fresh: object, old: object
) -> None:
    memory = NameMemory()
    memory.keep("name.example", FOUND, now_s=100, took_s=0.1)
    assert memory.fresh("name.example", 100 + age_s) == fresh
    assert memory.old("name.example", 100 + age_s) == old


def test_failure_is_fresh_for_5_s_and_ends_what_was_known() -> None:
    memory = NameMemory()
    memory.keep("name.example", FOUND, now_s=100, took_s=0.1)
    memory.keep("name.example", MISSING, now_s=101, took_s=0.1)
    assert memory.fresh("name.example", 105.9) == MISSING
    assert memory.fresh("name.example", 106.1) is None
    assert memory.old("name.example", 101) is None
    assert not memory.is_quick("name.example")
    memory.keep("name.example", FOUND, now_s=102, took_s=0.1)
    assert memory.fresh("name.example", 102) == FOUND


@pytest.mark.parametrize(("took_s", "is_quick"), [(0.9, True), (1.1, False)])
def test_name_is_quick_as_it_was_last_found(took_s: float, *, is_quick: bool) -> None:
    memory = NameMemory()
    for before_s in (0.1, took_s):
        memory.keep("name.example", FOUND, now_s=100, took_s=before_s)
    assert memory.is_quick("name.example") is is_quick


def test_names_found_first_are_forgotten_and_failures_drive_out_none() -> None:
    memory = NameMemory()
    for number in range(MAX_NAMES + 1):
        memory.keep(f"{number}.example", FOUND, now_s=100, took_s=0.1)
    for number in range(2 * MAX_NAMES):
        memory.keep(f"{number}.missing.example", MISSING, now_s=100, took_s=0.1)
    assert memory.fresh("0.example", 100) is None
    assert memory.fresh("1.example", 100) == FOUND
    assert len(memory._found) == MAX_NAMES
    assert len(memory._failed) == MAX_FAILURES
