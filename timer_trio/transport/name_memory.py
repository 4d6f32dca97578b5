"""What was found out about names, for as long as it may be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

FRESH_S: Final = 5.0
"""A burst to a name asks once, and one that was just made or moved is soon found."""

OLD_S: Final = 60.0
"""How old addresses may be that are used because the name server does not answer any more: as long
as the name servers of most services tell others to keep them."""

QUICK_S: Final = 1.0
"""A sound name server answers in a tenth of it; one that does not holds up other names."""

MAX_NAMES: Final = 4_096
"""Consumers choose the names, so the memory of them needs an end; each takes half a kilobyte."""

MAX_FAILURES: Final = 1_000
"""Likewise, and apart, so that names that do not exist drive out none that does."""

Host = tuple[str, int]
"""An address without a port: IP and scope."""
Hosts = tuple[Host, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    reason: str


@dataclass(frozen=True, slots=True)
class _Found:
    hosts: Hosts
    at_s: float
    is_quick: bool


class NameMemory:
    """The last answer for each of the names that were asked for last."""

    def __init__(self) -> None:
        self._found: _Newest[_Found] = _Newest(MAX_NAMES)
        self._failed: _Newest[tuple[Failure, float]] = _Newest(MAX_FAILURES)

    def keep(self, host: str, answer: Hosts | Failure, *, now_s: float, took_s: float) -> None:
        """Take note of an answer that has come at `now_s`, so long after the question."""
        if isinstance(answer, Failure):
            self._found.pop(host)
            self._failed.put(host, (answer, now_s))
        else:
            self._failed.pop(host)
            self._found.put(host, _Found(answer, now_s, took_s <= QUICK_S))

    def fresh(self, host: str, now_s: float) -> Hosts | Failure | None:
        """Return an answer that nobody need ask for again yet."""
        failed = self._failed.get(host)
        if failed is not None and now_s < failed[1] + FRESH_S:
            return failed[0]
        return self._hosts(host, now_s - FRESH_S)

    def old(self, host: str, now_s: float) -> Hosts | None:
        """Return the addresses that may be used while the name server keeps us waiting."""
        return self._hosts(host, now_s - OLD_S)

    def is_quick(self, host: str) -> bool:
        """Whether this name was found in good time when it was last asked for."""
        found = self._found.get(host)
        return found is not None and found.is_quick

    def _hosts(self, host: str, since_s: float) -> Hosts | None:
        found = self._found.get(host)
        return found.hosts if found is not None and found.at_s > since_s else None


V = TypeVar("V")


class _Newest(Generic[V]):
    """A dict that forgets what was put in first when it is full."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[str, V] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, host: str) -> V | None:
        return self._values.get(host)

    def pop(self, host: str) -> None:
        self._values.pop(host, None)

    def put(self, host: str, value: V) -> None:
        self.pop(host)
        if len(self._values) >= self._size:
            del self._values[next(iter(self._values))]
        self._values[host] = value
