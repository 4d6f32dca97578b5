"""The machine's own clock, and what its processes have used of it and of its memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep, time  # noqa: TID251 - a benchmark watches from outside

__all__ = [
    "children",
    "cpu_s",
    "family_cpu_s",
    "monotonic",
    "peak_rss_bytes",
    "rss_bytes",
    "sleep",
    "time",
]

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_s(pid: int) -> float:
    """User and system time of a process, all of its threads, those that have ended included."""
    return sum(_times(pid)[:2])


def family_cpu_s(parent: int) -> float:
    """User and system time of a process, and of its children, living and dead."""
    while True:
        own = _times(parent)
        with suppress(FileNotFoundError, ProcessLookupError):
            living = sum(map(cpu_s, _children(parent)))
            # A child that has ended meanwhile would count twice, or not at all.
            if _times(parent)[2:] == own[2:]:
                return sum(own) + living


def children(parent: int) -> list[int]:
    """Name the processes that another one has started and that live."""
    return list(_children(parent))


def rss_bytes(pid: int) -> int:
    """Memory that a process has resident now."""
    return _memory(pid, "VmRSS:")


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process ever had resident."""
    return _memory(pid, "VmHWM:")


def _fields(pid: int) -> list[str]:
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _times(pid: int) -> list[float]:
    """User, system, and the same two of the children that have ended and were waited for."""
    return [int(ticks) / _TICKS for ticks in _fields(pid)[11:15]]


def _children(parent: int) -> Iterator[int]:
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if int(_fields(int(folder.name))[1]) == parent:
                yield int(folder.name)
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue


def _memory(pid: int, name: str) -> int:
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
