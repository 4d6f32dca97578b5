"""Looks now and then whether another server has become the primary, beside the work."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final, NoReturn

import psycopg
import trio

from timer_trio.storage.postgres.dialing import Dialer
from timer_trio.storage.postgres.servers import History, Server
from timer_trio.threads import start_in_thread

LOOK_S: Final = 2.0
"""Between two looks at a server: one that has become the primary is found no later, whatever the
former one does. A look is a connection of its own."""


async def watch(dialer: Dialer) -> None:
    """Look at each server that is not worked with; ends if there is no choice.

    Cancellation: at once. A look that is under way goes on until its bound.
    """
    if not dialer.names_several:
        return
    async with trio.open_nursery() as nursery:
        for server in dialer.servers:
            nursery.start_soon(_watch_one, dialer, server)


async def _watch_one(dialer: Dialer, server: Server) -> NoReturn:
    """Look again and again, never twice at once: a server that hangs costs one thread."""
    while True:
        await trio.sleep(LOOK_S)
        if dialer.fence.silence is None and not dialer.fence.has_lines(server.name):
            await _look(dialer, server)


async def _look(dialer: Dialer, server: Server) -> None:
    has_ended = trio.Event()
    try:
        start_in_thread(partial(look, dialer, server), lambda _: has_ended.set())
    except RuntimeError:
        return  # the system gives no thread: later
    await has_ended.wait()


def look(dialer: Dialer, server: Server) -> None:
    """Ask a server, in this thread, and let the fence know."""
    told: History | None = None
    with suppress(psycopg.Error):  # it is away, or a standby, as most are
        told = dialer.ask(server)
    if told is None:
        dialer.fence.forget_stray(server.name)
    else:
        dialer.fence.learn(server.name, told)
