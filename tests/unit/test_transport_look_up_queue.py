from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.transport.look_up_queue import LookUpQueue, parent_domain

THREADS = 16
KEPT = 4
"""Of the threads, for names that are known to be quick."""


def taken(queue: LookUpQueue) -> list[str]:
    """Take as many names as there are threads for."""
    names: list[str] = []
    while (host := queue.take()) is not None:
        names.append(host)
    return names


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("hooks.shop.example.com", "example.com"),
        ("example.com.", "example.com"),
        ("example.com", "example.com"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_parent_domain_is_the_last_two_labels(host: str, domain: str) -> None:
    assert parent_domain(host) == domain


def test_domains_take_turns_whoever_came_first() -> None:
    queue = LookUpQueue(1)
    for name in ("1.a.test", "2.a.test", "3.a.test", "1.b.test", "1.c.test"):
        queue.add(name, is_quick=False)
    order = []
    while (host := queue.take()) is not None:
        order.append(host)
        queue.end(host)
    assert order == ["1.a.test", "1.b.test", "1.c.test", "2.a.test", "3.a.test"]


def test_one_domain_holds_a_quarter_of_the_threads_at_most() -> None:
    queue = LookUpQueue(THREADS)
    for number in range(100):
        queue.add(f"{number}.silent.test", is_quick=number % 2 == 0)
    held = taken(queue)
    assert len(held) == THREADS // 4
    queue.add("healthy.test", is_quick=False)
    assert taken(queue) == ["healthy.test"]
    queue.end(held[-1])
    assert len(taken(queue)) == 1


def test_many_silent_domains_leave_a_quarter_to_names_known_to_be_quick() -> None:
    queue = LookUpQueue(THREADS)
    for number in range(100):
        queue.add(f"silent{number}.test", is_quick=False)
    assert len(taken(queue)) == THREADS - KEPT
    for number in range(100):
        queue.add(f"quick{number}.test", is_quick=True)
    assert len(taken(queue)) == KEPT


def test_name_that_was_quick_takes_its_turn_among_the_others_too() -> None:
    queue = LookUpQueue(THREADS)
    for number in range(100):
        queue.add(f"quick{number}.test", is_quick=True)
    queue.add("new.test", is_quick=False)
    held = taken(queue)
    assert len(held) == THREADS
    for host in held:
        queue.end(host)
    while "new.test" not in held:
        held = taken(queue)
        for host in held:
            queue.end(host)


@given(
    st.integers(1, 20),
    st.lists(
        st.tuples(
            st.sampled_from(["add", "quick", "discard", "end"]),
            st.integers(0, 30).map(lambda n: f"{n}.d{n % 5}.test"),
        ),
        max_size=80,
    ),
)
def test_threads_are_never_idle_while_a_domain_may_have_one(
    threads: int, steps: list[tuple[str, str]]
) -> None:
    queue = LookUpQueue(threads)
    waiting: set[str] = set()
    running: set[str] = set()
    for step, host in steps:
        if step in {"add", "quick"} and host not in waiting | running:
            queue.add(host, is_quick=step == "quick")
            waiting.add(host)
        elif step == "discard" and host in waiting:
            queue.discard(host)
            waiting.discard(host)
        elif step == "end" and host in running:
            queue.end(host)
            running.discard(host)
        started = taken(queue)
        assert set(started) <= waiting
        waiting -= set(started)
        running |= set(started)
        assert len(queue) == len(waiting)
        assert len(running) <= threads
        held = [parent_domain(host) for host in running]
        most = max(1, threads // 4) + (threads >= 4)
        assert all(held.count(domain) <= most for domain in held)
        idle = {parent_domain(host) for host in waiting} - set(held)
        assert len(running) >= threads - threads // 4 or not idle
