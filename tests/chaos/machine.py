"""What the machine does to the replicas: how long each waited for a processor that others had."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

import trio

from tests.chaos.fleet import Fleet

LOOK_S: Final = 1.0
STARVED_MS: Final = 400.0
"""In one second: with less than two thirds of a processor left, lateness tells of the machine."""


@dataclass(slots=True)
class Machine:
    """`waited_ms`: for each second and replica, how long its event loop was ready and not run."""

    waited_ms: list[float] = field(default_factory=list)

    async def watch(self, fleet: Fleet) -> NoReturn:
        before: dict[int, float] = {}
        while True:
            pids = [replica.served.program.pid for replica in fleet.members.values()]
            now = {pid: wait_ms for pid in pids if (wait_ms := _waited_ms(pid)) is not None}
            self.waited_ms += [now[pid] - before[pid] for pid in now.keys() & before.keys()]
            before = now
            await trio.sleep(LOOK_S)


def _waited_ms(pid: int) -> float | None:
    """Read it from the kernel's books; None where there are none, or no such process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text("utf-8").split()[1]) / 1e6
    return None
