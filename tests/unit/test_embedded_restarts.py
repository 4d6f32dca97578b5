from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from timer_trio.backoff import LONG_LIFE_S
from timer_trio.embedded import EmbeddedUnavailableError, keep_running
from timer_trio.embedded.postgres_server import PostgresServer


class Crashing(PostgresServer):
    """Ends so many seconds after each launch; negative: it does not come up at all."""

    def __init__(self, lives_s: list[float]) -> None:
        super().__init__(Path("nowhere"))
        self._lives_s = lives_s
        self._life_s = 0.0

    async def wait_ended(self) -> int:
        await trio.sleep(max(0.0, self._life_s))
        return 1

    async def launch(self) -> None:
        if not self._lives_s:
            await trio.sleep_forever()
        self._life_s = self._lives_s.pop(0)
        if self._life_s < 0:
            raise EmbeddedUnavailableError("PostgreSQL did not start")


def restarts(lives_s: list[float]) -> list[Any]:
    """Run a server through these lives; answers with the pause before each launch."""

    async def run() -> None:
        with trio.move_on_after(1000):
            await keep_running(Crashing(lives_s))

    with capture_logs() as log:
        trio.run(run, clock=MockClock(autojump_threshold=0))
    return [line["restart_in_s"] for line in log if "restart_in_s" in line]


@pytest.mark.parametrize("life_s", [-1, 0, 1])
def test_server_that_crashes_again_and_again_is_started_less_and_less_often(
    life_s: float,
) -> None:
    pauses_s = restarts([life_s] * 7)
    assert pauses_s[1:] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])


def test_server_that_has_run_for_long_is_started_again_at_once() -> None:
    assert restarts([1, 1, 1, LONG_LIFE_S, 1]) == pytest.approx([0.1, 0.2, 0.4, 0.8, 0.1, 0.2])
