"""Which name is looked up next: a pure decision, without threads.

Theory of operation. Whoever runs a name server decides how long its names hold a thread, and
whoever creates timers how many such names there are. So names wait by parent domain, the domains
take turns, and none holds more than a quarter of the threads. Many silent domains together can
still hold them all; a quarter is therefore kept for names that were found in good time before.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

SHARE: Final = 4
"""A quarter of the threads for one domain, and a quarter for names that are known to be quick: what
one domain cannot use, three others can."""


class LookUpQueue:
    """Names that wait to be looked up by one of so many threads, and those that are."""

    def __init__(self, threads: int) -> None:
        kept = threads // SHARE
        self._kept = _Share(kept)
        self._common = _Share(threads - kept)
        self._running: dict[str, _Share] = {}

    def __len__(self) -> int:
        """How many names wait."""
        return len(self._common)

    def add(self, host: str, *, is_quick: bool) -> None:
        """Queue a name; `is_quick`: it has been found in good time before."""
        self._common.add(host)
        if is_quick:
            self._kept.add(host)

    def discard(self, host: str) -> None:
        """Forget a name that nobody waits for any more, unless a thread has it already."""
        self._common.discard(host)
        self._kept.discard(host)

    def take(self) -> str | None:
        """Take the name that a thread is to look up now; None: none may."""
        for share in (self._kept, self._common):
            host = share.take()
            if host is not None:
                self.discard(host)
                self._running[host] = share
                return host
        return None

    def end(self, host: str) -> None:
        """Free the thread of a name."""
        self._running.pop(host).release(host)


class _Share:
    """Some threads, and the names that may have one of them: a queue for each domain, by turns."""

    def __init__(self, threads: int) -> None:
        self._free = threads
        self._per_domain = max(1, threads // SHARE)
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, host: str) -> None:
        self._waiting.setdefault(parent_domain(host), {})[host] = None
        self._count += 1

    def discard(self, host: str) -> None:
        domain = parent_domain(host)
        names = self._waiting.get(domain, {})
        if host in names:
            del names[host]
            self._count -= 1
            if not names:
                del self._waiting[domain]

    def take(self) -> str | None:
        if not self._free:
            return None
        # At most SHARE domains hold all they may, so the first that may have one more is near.
        held, most = self._held, self._per_domain
        domain = next((domain for domain in self._waiting if held[domain] < most), None)
        if domain is None:
            return None
        host = next(iter(self._waiting[domain]))
        self._waiting.move_to_end(domain)
        self.discard(host)
        self._free -= 1
        held[domain] += 1
        return host

    def release(self, host: str) -> None:
        domain = parent_domain(host)
        self._free += 1
        self._held[domain] -= 1
        if not self._held[domain]:
            del self._held[domain]


def parent_domain(host: str) -> str:
    """Name what a host belongs to: its last two labels, or itself if it has but one."""
    return ".".join(host.rstrip(".").split(".")[-2:])
