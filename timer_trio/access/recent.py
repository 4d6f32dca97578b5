"""What was read of late: it may be used for a few seconds, and is read by one at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import trio

from timer_trio.domain.errors import StorageUnavailableError

MAX_AGE_S: Final = 5.0
"""What somebody has changed is served in its old form no longer than this."""

K = TypeVar("K")
V = TypeVar("V")


class _LookUp(Generic[V]):
    """A reading under way; `error` or `value` once it has ended, unless its reader has left."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.value: V | None = None
        self.error: StorageUnavailableError | None = None
        self.is_done = False


class Recent(Generic[K, V]):
    """Values by their names, each used for `MAX_AGE_S` from before it was read.

    Names that stand for nothing are remembered as well, beside the others, so that whoever asks
    for many of them displaces none that is good for something. `most` of either, the latest.
    """

    def __init__(self, read: Callable[[K], Awaitable[V | None]], *, most: int) -> None:
        self._read = read
        self._most = most
        self._found: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._missing: OrderedDict[K, float] = OrderedDict()
        self._under_way: dict[K, _LookUp[V]] = {}

    def __len__(self) -> int:
        return len(self._found) + len(self._missing)

    async def get(self, name: K) -> V | None:
        """Return what a name stands for, or did a moment ago; None: nothing.

        Concurrency: one reads a name, and whoever asks for it meanwhile waits for him.

        Raises:
            StorageUnavailableError: it cannot be read, or was read too slowly.
        """
        while True:
            if (found := self.peek(name)) is not None:
                return found
            oldest_s = trio.current_time() - MAX_AGE_S
            if self._missing.get(name, oldest_s) > oldest_s:
                return None
            under_way = self._under_way.get(name)
            if under_way is None:
                return await self._look_up(name)
            await under_way.ended.wait()
            if under_way.error is not None:
                raise StorageUnavailableError(str(under_way.error))
            if under_way.is_done:
                return under_way.value

    def peek(self, name: K) -> V | None:
        """Return what a name stands for, if that was read of late; None: `get` may know more."""
        found = self._found.get(name)
        if found is None or found[1] <= trio.current_time() - MAX_AGE_S:
            return None
        return found[0]

    def forget(self, name: K) -> None:
        """Have a name read again by whoever asks for it next."""
        self._found.pop(name, None)
        self._missing.pop(name, None)
        self._under_way.pop(name, None)

    def forget_all(self) -> None:
        """Have all names read again."""
        for known in (self._found, self._missing, self._under_way):
            known.clear()

    async def _look_up(self, name: K) -> V | None:
        look_up = self._under_way[name] = _LookUp[V]()
        # Of before the question: what is changed after this is served no longer than it may be.
        asked_s = trio.current_time()
        try:
            value = await self._read_in_time(name, asked_s)
        except StorageUnavailableError as error:
            look_up.error = error
            raise
        else:
            look_up.value, look_up.is_done = value, True
            if self._under_way.get(name) is look_up:  # nobody has changed it meanwhile
                self._remember(name, value, asked_s)
            return value
        finally:
            if self._under_way.get(name) is look_up:
                del self._under_way[name]
            look_up.ended.set()

    async def _read_in_time(self, name: K, asked_s: float) -> V | None:
        value = await self._read(name)
        if trio.current_time() >= asked_s + MAX_AGE_S:
            raise StorageUnavailableError(f"it took longer than {MAX_AGE_S:g}s to read")
        return value

    def _remember(self, name: K, value: V | None, asked_s: float) -> None:
        self._found.pop(name, None)
        self._missing.pop(name, None)
        if value is None:
            self._missing[name] = asked_s
        else:
            self._found[name] = value, asked_s
        for known in (self._found, self._missing):
            if len(known) > self._most:
                known.popitem(last=False)
