"""Random clients on the served API, each out of its seed; `make soak` looks for new ones."""

from __future__ import annotations

import os
from typing import Final

import pytest
import trio
from structlog.testing import capture_logs

from tests.api_under_test import API_KEY, besides_requests, served_api
from tests.hostile_scripts import Kind, play, script_of

FIRST_SEED: Final = int(os.environ.get("FUZZ_SEED", "1"))
COUNT: Final = int(os.environ.get("FUZZ_COUNT", "60"))
"""Of scripts, for each kind."""
SIDE_BY_SIDE: Final = 16


@pytest.mark.parametrize("kind", Kind)
async def test_no_client_harms_another(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    again = f"FUZZ_SEED={FIRST_SEED} FUZZ_COUNT={COUNT}"
    async with served_api() as (api, url):
        port = int(url.rpartition(":")[2])
        before, sample = open_files(), api.metrics.registry.get_sample_value
        with capture_logs() as log:
            await play_all(kind, port)
            with trio.fail_after(30):  # a connection is counted until its task has ended, too
                while open_files() > before or sample("timer_trio_connections"):  # noqa: ASYNC110 - a probe
                    await trio.sleep(0.01)
        assert (await api.client.get("/health/live")).status_code == 200
    # What no peer may cause: an exception, in its own connection or in the app.
    assert not [line for line in besides_requests(log) if line["log_level"] != "info"], again
    assert not [line for line in log if line["event"] == "connection_broken"], again
    assert not caplog.records, again


async def play_all(kind: Kind, port: int) -> None:
    seeds = iter(range(FIRST_SEED, FIRST_SEED + COUNT))

    async def play_some() -> None:
        for seed in seeds:
            await play(script_of(seed, kind, API_KEY), port)

    async with trio.open_nursery() as nursery:
        for _ in range(SIDE_BY_SIDE):
            nursery.start_soon(play_some)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, of no path's


@pytest.mark.parametrize("kind", Kind)
def test_same_seed_is_the_same_script(kind: Kind) -> None:
    assert script_of(7, kind, API_KEY) == script_of(7, kind, API_KEY)
