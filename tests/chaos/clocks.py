"""Replicas whose wall clocks are wrong by an hour: they fire by the database's clock alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from tests.acceptance.receiver import now
from tests.chaos import checks
from tests.chaos.book import Book
from tests.chaos.faketime import (
    HOUR_S,
    NoFaketimeError,
    assert_moves_wall_clock_alone,
    environ,
    fetch_library,
)
from tests.chaos.fleet import Replica, when
from tests.chaos.report import Figure, late, none_of
from tests.chaos.stage import Ground, staged
from tests.chaos.stop import LATE_MS, LATEST, WAITED

LENGTH_S: Final = 10.0
AHEAD, BEHIND = "a", "b"
DONE: Final = "one 1 h ahead, one 1 h behind"


async def run(ground: Ground) -> Sequence[Figure]:
    try:
        library = await fetch_library(ground.folder)
        await assert_moves_wall_clock_alone(library)
    except NoFaketimeError as error:
        return [Figure(DONE, "not run", None, details=[str(error)])]
    async with staged(ground) as stage:
        ahead = await stage.fleet.start(AHEAD, **environ(library, "+1h"))
        behind = await stage.fleet.start(BEHIND, **environ(library, "-1h"))
        began_s = now().timestamp()
        await stage.begin()
        await trio.sleep(LENGTH_S)
        book = await stage.finish()
        fired = [replica.fired for replica in (ahead, behind)]
    shifts = [_shift_s(ahead, began_s), -_shift_s(behind, began_s)]
    return _figures(book, shifts, [len(each) for each in fired])


def _shift_s(replica: Replica, began_s: float) -> float:
    """Tell how far a replica's wall clock was from ours when it was ready."""
    return when(replica.served.logged("ready")[0]) - began_s


def _figures(book: Book, shifts_s: Sequence[float], fired: Sequence[int]) -> list[Figure]:
    beyond_ms = checks.late_beyond_ms(checks.last_late_ms(book, book.asked), book.machine_ms)
    return [
        Figure(DONE, "least shift of a wall clock", min(shifts_s), "s", at_least=0.99 * HOUR_S),
        Figure(DONE, "timers created and acknowledged", len(book.asked)),
        Figure(DONE, "fewest fired by one of them", min(fired), at_least=1),
        none_of(DONE, "callbacks before their instant", checks.early(book)),
        late(DONE, LATEST, beyond_ms, LATE_MS, is_starved=book.is_starved),
        Figure(DONE, "the machine's own lateness", book.machine_ms, "ms"),
        Figure(DONE, WAITED, book.waited_ms, "ms"),
        none_of(DONE, "timers sent twice", checks.doubled(book)),
        none_of(DONE, "timers that never ended", checks.unfinished(book)),
        none_of(DONE, "timers that never fired", checks.silent(book)),
    ]
