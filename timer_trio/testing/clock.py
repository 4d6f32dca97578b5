"""Keeps a virtual clock where it is as long as a worker thread runs.

trio's MockClock jumps to the next deadline once no task can go on, and a task that waits for a
thread cannot: so a thread of a millisecond would cost virtual days, in silence.
"""

from __future__ import annotations

import inspect
import time
from itertools import pairwise
from math import inf
from types import CodeType
from typing import Final, NoReturn

import trio
from trio.testing import MockClock

THREAD_LIMIT_S: Final = 30.0
"""Real time for which the clock waits for a thread: whoever waits longer waits for the clock."""
_PAUSE_S: Final = 0.001
"""Real time, between two looks whether the thread has ended; nobody else could go on meanwhile."""


class ThreadHoldsClockError(RuntimeError):
    """A worker thread does not end while the virtual clock stands still for it."""


async def hold_clock_for_threads(
    *,
    limit_s: float = THREAD_LIMIT_S,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Hold virtual time while a thread of `trio.to_thread.run_sync` runs; until cancelled.

    A thread that has called back into trio, and waits there, holds nothing.

    Raises:
        ThreadHoldsClockError: one has run for `limit_s` of real time, and nothing else could.
    """
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock):
        task_status.started()
        await trio.sleep_forever()
    brake = _Brake(clock, limit_s)
    trio.lowlevel.add_instrument(brake)
    try:
        task_status.started()
        while True:
            await brake.wait_pulled()
    finally:
        trio.lowlevel.remove_instrument(brake)
    raise AssertionError("it ends by cancellation alone")


class _Brake(trio.abc.Instrument):
    """Lets a deadline pass right before the clock would jump: trio takes that for progress."""

    def __init__(self, clock: MockClock, limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._scope = trio.CancelScope()
        self._since_s = inf

    async def wait_pulled(self) -> None:
        self._scope = trio.CancelScope()
        with self._scope:
            await trio.sleep_forever()
        if time.monotonic() - self._since_s > self._limit_s:
            raise ThreadHoldsClockError(
                f"a worker thread has run for {self._limit_s:g}s of real time while the virtual "
                "clock stood still for it: does it wait for virtual time to pass, or for a task "
                "that does?"
            )

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio's signature
        if not self._must_hold():
            self._since_s = inf
            return
        self._since_s = min(self._since_s, time.monotonic())
        time.sleep(_PAUSE_S)  # noqa: TID251 - no task could go on
        self._scope.deadline = -inf

    def _must_hold(self) -> bool:
        return (
            trio.testing.active_thread_count() > 0
            and self._clock.autojump_threshold < inf
            and not trio.lowlevel.current_statistics().tasks_runnable
            and _threads_alone_go_on()
        )


_RUN_SYNC: Final[CodeType] = inspect.unwrap(trio.to_thread.run_sync).__code__  # noqa: TID251 - to find it, not to call it
_IN_THREAD: Final[CodeType] = inspect.unwrap(trio.lowlevel.wait_task_rescheduled).__code__
_IDLE: Final[CodeType] = inspect.unwrap(trio.testing.wait_all_tasks_blocked).__code__


def _threads_alone_go_on() -> bool:
    """Whether a thread runs, and no task waits for all others to be blocked, as tests do."""
    root = trio.lowlevel.current_root_task()
    codes = [] if root is None else [_codes_of(task) for task in _below(root)]
    return any(map(_waits_for_thread, codes)) and not any(_IDLE in each for each in codes)


def _below(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return [task, *(below for child in children for below in _below(child))]


def _codes_of(task: trio.lowlevel.Task) -> list[CodeType]:
    return [frame.f_code for frame, _ in task.iter_await_frames()]


def _waits_for_thread(codes: list[CodeType]) -> bool:
    # A thread that calls back into trio has its task run what it calls, in between.
    return (_RUN_SYNC, _IN_THREAD) in pairwise(codes)
