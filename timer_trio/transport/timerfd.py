"""Linux's timer that is a file descriptor: it wakes whoever waits for descriptors, to the point.

The deadlines of an event loop are rounded up to whole milliseconds, since epoll takes no others.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_BILLION: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerFd:
    """Becomes readable once, so many seconds after it was set; Python has it from 3.13 on.

    Raises:
        OSError: the system has none, or no descriptor left.
    """

    def __init__(self) -> None:
        self._settime = ctypes.CDLL(None, use_errno=True).timerfd_settime
        self._spec = _Itimerspec()
        self._pointer = ctypes.byref(self._spec)
        create = ctypes.CDLL(None, use_errno=True).timerfd_create
        self._fd: int = create(_CLOCK_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def fileno(self) -> int:
        return self._fd

    def set(self, in_s: float) -> None:
        """Set it anew; at once for what has passed. What it was set to before is forgotten."""
        in_ns = max(1, int(in_s * _BILLION))  # zero would stop it
        value = self._spec.value
        value.seconds, value.nanoseconds = divmod(in_ns, _BILLION)
        self._settime(self._fd, 0, self._pointer, None)

    def stop(self) -> None:
        """Let it not become readable any more; if it is already, it no longer is."""
        self._spec.value.seconds = self._spec.value.nanoseconds = 0
        self._settime(self._fd, 0, self._pointer, None)

    def close(self) -> None:
        os.close(self._fd)
