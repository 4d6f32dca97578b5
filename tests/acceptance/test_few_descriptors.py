from __future__ import annotations

import itertools
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import Service

COUNT = 60


@contextmanager
def no_descriptor_left(pid: int) -> Iterator[None]:
    """Let a process open no file more than it has open."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
    first_free = next(number for number in itertools.count() if number not in taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")
async def test_timers_wait_for_descriptors_and_are_sent_once(
    served: Service, receiver: ReceiverProcess
) -> None:
    created: list[str] = []
    for number in range(COUNT):
        host = "127.0.0.1" if number % 2 else "localhost"
        created.append(
            await served.consumer.create(
                delay=1.0,
                callback_url=receiver.url().replace("127.0.0.1", host),
                delivery="at_most_once" if number % 4 < 2 else "at_least_once",
            )
        )
    with no_descriptor_left(served.program.pid):
        await served.wait_logged("callbacks_put_off")
        await trio.sleep(1.5)
        assert not receiver.arrivals
    await receiver.wait_fired(created)
    await served.consumer.wait_ended()
    for timer_id in created:
        timer = await served.consumer.get(timer_id)
        assert (timer["status"], timer["attempt"], timer["last_error"]) == ("completed", 1, None)
    assert receiver.times_fired == dict.fromkeys(created, 1)
    assert len(served.logged("callbacks_put_off")) == 1
