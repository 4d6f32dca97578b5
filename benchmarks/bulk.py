"""100,000 timers canceled, redriven and deleted at once, and how late others fire meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.contender import API_KEY, Contender, service
from benchmarks.figures import late_lines
from benchmarks.filling import add
from benchmarks.firing import await_all, steady, write_schedule
from benchmarks.machine import sleep, time
from benchmarks.programs import BenchmarkError
from benchmarks.receiving import receiver
from benchmarks.report import Line, Size

NAME: Final = "bulk"
COUNT: Final = 100_000
QUICK_COUNT: Final = 20_000
RATE: Final = 200
DESTINATIONS: Final = 8
AT_LEAST: Final = 5_000.0
ACTIONS: Final = ("cancel", "redrive", "delete")
_FILTER: Final = {"metadata.bulk": "yes"}


def measure(size: Size) -> Iterator[Line]:
    count = QUICK_COUNT if size is Size.QUICK else COUNT
    with service() as contender:
        add(contender.database.url, count, '{"bulk": "yes"}')
        for action in ACTIONS[:2]:
            done = _Bulk(contender, action)
            done.run()
            yield from done.lines(count, "")
        yield from _beside(contender, count)


def _beside(contender: Contender, count: int) -> Iterator[Line]:
    """Measure them while other timers fire."""
    with receiver(DESTINATIONS) as far_end:
        for action in ACTIONS:
            # Hardly longer than the bulk action.
            schedule = steady(RATE, 4 + count / 10_000, DESTINATIONS)
            instants = write_schedule(contender, far_end, schedule)
            done = _Bulk(contender, action)
            thread = threading.Thread(target=done.run)
            sleep(max(0.0, instants[0] + 1 - time()))
            thread.start()
            seen = await_all(contender, far_end, instants)
            thread.join()
            yield from done.lines(count, f" beside {RATE} timers/s")
            yield from late_lines(f"{NAME} {action}", seen, at_most={"p99": 50})
            if action == "redrive":
                again = _Bulk(contender, "cancel")
                again.run()


@dataclass
class _Bulk:
    """One bulk action over HTTP, and what it answered."""

    contender: Contender
    action: str
    seconds: float = 0.0
    answer: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        body: dict[str, object] = {"action": self.action, "filter": _FILTER}
        if self.action == "redrive":
            body["rate_per_second"] = 0.1  # hardly one falls due while this runs
        place = urlsplit(self.contender.api_url)
        connection = HTTPConnection(place.hostname or "", place.port, timeout=120)
        headers = {"X-API-Key": API_KEY, "Content-Type": "application/json"}
        began = time()
        connection.request("POST", "/timers/bulk", json.dumps(body), headers)
        lines = connection.getresponse().read().splitlines()
        self.seconds = time() - began
        self.answer = json.loads(lines[-1])
        connection.close()

    def lines(self, count: int, where: str) -> Iterator[Line]:
        done = self.answer.get("data", {}).get("done")
        # A few of those that were redriven first may have fired.
        if self.answer.get("code") != 0 or done < count - 20:
            raise BenchmarkError(f"{self.action} ended with {self.answer}")
        yield Line(NAME, f"{self.action}{where}", done / self.seconds, "/s", at_least=AT_LEAST)
