"""Which connections have something to read, and when the next callback goes out: one wait for all.

Theory of operation. A task that waits for its own socket costs two changes of trio's epoll and a
round of its scheduler, and every wake-up of a process that had nothing to do finds cold caches. So
each connection is registered once, edge-triggered, in an epoll of ours, and one task waits for its
descriptor and calls whoever is ready; the timer by which callbacks go out at their instants is a
descriptor in there as well. Where a callback is about to go out and few answers are expected, the
task waits for the timer alone, so that both cost one wake-up.

Where there is no epoll, a task of its own waits for each connection, and trio keeps the time.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from math import inf
from typing import Final, NoReturn, Protocol

import trio

from timer_trio.alarm import Alarm, TrioAlarm
from timer_trio.transport.timerfd import TimerFd

PATIENCE_S: Final = 0.004
"""So long answers wait for the alarm: two wake-ups a callback become one from 250 a second on.
Nobody notices that an answer is read so much later."""
FEW: Final = 16
"""Answers that may wait: each takes some 50 us, and the callback goes out after them."""
BATCH: Final = 256
"""Events that are asked for in one call: more than there are at once, but in a storm."""

OnReadable = Callable[[bool], None]
"""Reads all that there is, or closes its socket; never raises. It is told whether the other side
is gone, so that nothing follows what is there."""


class Readiness(Protocol):
    """Calls those who have something to read. `expected`: how many answers are waited for."""

    expected: int

    @property
    def alarm(self) -> Alarm:
        """Rings in the same wait; to be asked for by each who listens."""

    def register(self, connected: socket.socket, on_readable: OnReadable) -> None:
        """Call `on_readable` whenever there is something more to read, or the other side is gone.

        Raises:
            OSError: this machine lacks what that takes.
        """

    def unregister(self, connected: socket.socket) -> None:
        """Forget a socket that is about to be closed."""

    def look(self) -> None:
        """Call those who are ready now; the alarm rings in `run` alone."""

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call those who are ready, for ever."""

    def close(self) -> None:
        """Give back what the system has lent."""


class TimerAlarm:
    """Rings when the timer of an EpollReadiness is ready: to the microsecond, not millisecond.

    Several may listen: it rings for all of them.
    """

    def __init__(self, timer: TimerFd) -> None:
        self._timer = timer
        self._on_ring: list[Callable[[], None]] = []
        self._has_rung = False
        self.rings_at_s = inf

    def set(self, at_s: float) -> None:
        # One that rings sooner is left alone: answers may be waiting for it.
        if at_s < self.rings_at_s:
            self.rings_at_s = at_s
            self._timer.set(at_s - trio.current_time())

    async def run(self, on_ring: Callable[[], None]) -> NoReturn:
        self._on_ring.append(on_ring)
        if self._has_rung:  # maybe for what this one had set it to
            self.set(trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            self._on_ring.remove(on_ring)
        raise AssertionError("it sleeps for ever")

    def ring(self) -> None:
        self.rings_at_s = inf
        self._has_rung = True
        for on_ring in self._on_ring:
            on_ring()
        if self.rings_at_s == inf:
            self._timer.stop()


class EpollReadiness:
    """One epoll and one timer of the system; few answers wait `patience_s` for the alarm."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._epoll = select.epoll()
        self._epoll_fd: Final = self._epoll.fileno()
        self._timer = TimerFd()
        self._timer_fd: Final = self._timer.fileno()
        self._epoll.register(self._timer_fd, select.EPOLLIN | select.EPOLLET)
        self._on_readable: dict[int, OnReadable] = {}
        self.alarm: Final = TimerAlarm(self._timer)
        self.expected = 0

    def register(self, connected: socket.socket, on_readable: OnReadable) -> None:
        number = connected.fileno()
        self._epoll.register(number, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        self._on_readable[number] = on_readable

    def unregister(self, connected: socket.socket) -> None:
        # The system forgets it by itself once it is closed.
        self._on_readable.pop(connected.fileno(), None)

    def look(self) -> None:
        if not self._epoll.closed and self._call_ready():
            # `run` may wait for the timer alone: if this task stopped it or set it anew, nobody
            # would read an answer until it rings again.
            self._timer.set(0)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self._awaited())
            if self._call_ready():
                # Last: then no callback goes out on a connection that is known to be gone.
                self.alarm.ring()

    def close(self) -> None:
        self._epoll.close()
        self._timer.close()

    def _call_ready(self) -> bool:
        """Call those who are ready, and tell if the alarm is to ring."""
        rings = False
        while True:
            ready = self._epoll.poll(0, BATCH)
            for number, events in ready:
                if number == self._timer_fd:
                    rings = True
                elif on_readable := self._on_readable.get(number):
                    on_readable(events != select.EPOLLIN)
            if len(ready) < BATCH:
                return rings

    def _awaited(self) -> int:
        """Name the descriptor to wait for: where answers may wait for the alarm, that alone."""
        is_soon = self.alarm.rings_at_s - trio.current_time() < self._patience_s
        return self._timer_fd if is_soon and self.expected <= FEW else self._epoll_fd


class TaskReadiness:
    """A task for each connection, and trio's time: where the system has neither of the others."""

    _nursery: trio.Nursery

    def __init__(self) -> None:
        self._watches: dict[socket.socket, trio.CancelScope] = {}
        self.expected = 0

    @property
    def alarm(self) -> Alarm:
        return TrioAlarm()

    def register(self, connected: socket.socket, on_readable: OnReadable) -> None:
        self._watches[connected] = trio.CancelScope()
        self._nursery.start_soon(self._watch, connected, on_readable, self._watches[connected])

    def unregister(self, connected: socket.socket) -> None:
        if watch := self._watches.pop(connected, None):
            watch.cancel()

    def look(self) -> None:
        """Do nothing: each connection is looked at by its own task."""

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()
        raise AssertionError("it sleeps for ever")

    def close(self) -> None:
        """Do nothing: its tasks have ended with `run`."""

    async def _watch(
        self,
        connected: socket.socket,
        on_readable: OnReadable,
        watched: trio.CancelScope,
    ) -> None:
        with watched:
            while not watched.cancel_called:  # then it is closed already
                await trio.lowlevel.wait_readable(connected)
                on_readable(False)


def system_readiness(patience_s: float) -> Readiness:
    """Return the best that the system has; there few answers wait `patience_s` for the alarm.

    Raises:
        OSError: no descriptor is left for it.
    """
    return EpollReadiness(patience_s) if hasattr(select, "epoll") else TaskReadiness()
