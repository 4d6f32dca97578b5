"""A rolling restart: each replica is stopped by SIGTERM and started again, and nobody notices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from tests.acceptance.load import Load, load_on
from tests.chaos import checks
from tests.chaos.book import Book
from tests.chaos.fleet import NAMES
from tests.chaos.report import Figure, late, none_of
from tests.chaos.stage import Ground, Stage, staged

LATE_MS: Final = 100.0
REQUESTS: Final = 40
"""Timers that consumers create one by one each second, and then read, change or cancel."""
PAUSE_S: Final = 1.0
LATEST: Final = "latest callback, beyond the machine"
WAITED: Final = "a replica's wait for a processor, worst second"
DONE: Final = "SIGTERM to each of three in turn"


async def run(ground: Ground) -> Sequence[Figure]:
    rounds = 3 if ground.is_full else 1
    async with staged(ground) as stage:
        await stage.fleet.start_all(NAMES)
        for name in NAMES:
            stage.streaming.start_soon(stage.rotation.watch, stage.fleet.members[name])
        await stage.begin()
        url = stage.receiver.url("/load")
        async with load_on(stage.rotation, url, ground.chance, REQUESTS) as load:
            codes = [await _restart(stage, name) for name in NAMES * rounds]
        book = await stage.finish()
    return _figures(book, load, stage, codes)


async def _restart(stage: Stage, name: str) -> int:
    code = await stage.fleet.members[name].stop()
    stage.streaming.start_soon(stage.rotation.watch, await stage.fleet.start(name))
    await trio.sleep(PAUSE_S)
    return code


def _figures(book: Book, load: Load, stage: Stage, codes: Sequence[int]) -> list[Figure]:
    late_ms = [
        *checks.last_late_ms(book, book.asked),
        *checks.late_since_known_ms(book, {key: it.known_at for key, it in load.promises.items()}),
    ]
    beyond_ms = checks.late_beyond_ms(late_ms, book.machine_ms)
    payloads = {arrival.timer_id: int(arrival.body) for arrival in book.arrivals}
    return [
        Figure(DONE, "timers created and acknowledged", len(book.asked) + len(load.promises)),
        Figure(DONE, "requests made", stage.rotation.asked),
        late(DONE, LATEST, beyond_ms, LATE_MS, is_starved=book.is_starved),
        Figure(DONE, "the machine's own lateness", book.machine_ms, "ms"),
        Figure(DONE, WAITED, book.waited_ms, "ms"),
        Figure(DONE, "callbacks more than 100 ms late", sum(ms > LATE_MS for ms in late_ms)),
        none_of(DONE, "timers sent twice", checks.doubled(book)),
        none_of(DONE, "requests lost", stage.rotation.lost),
        none_of(DONE, "promises to consumers broken", load.broken_promises(payloads)),
        none_of(DONE, "exit codes other than 0", (str(code) for code in codes if code)),
        none_of(DONE, "timers that never ended", checks.unfinished(book)),
        none_of(DONE, "timers that never fired", checks.silent(book)),
        none_of(DONE, "callbacks before their instant", checks.early(book)),
    ]
