"""What the loader is asked to read next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import trio


@dataclass(slots=True)
class Wants:
    """What one pass of the loader is asked for: the near edge, the whole window, some shards."""

    near: bool = False
    window: bool = False
    shards: set[int] = field(default_factory=set)

    def add(self, other: Wants) -> None:
        self.near |= other.near
        self.window |= other.window
        self.shards |= other.shards


class Refill:
    """Collects what is to be read, until the loader takes it."""

    def __init__(self) -> None:
        self._wants = Wants()
        self._is_wanted = trio.Event()
        self.hints_are_lost = False
        """Whether what others move near must be looked for, since their hints do not arrive."""

    def ask_near(self) -> None:
        """Ask for a look at the near edge."""
        self.ask(Wants(near=True))

    def ask_window(self) -> None:
        """Ask for the whole window: the shards are other ones now, or hints may have been lost."""
        self.ask(Wants(window=True))

    def ask_shards(self, shards: Collection[int]) -> None:
        """Ask for all that is in the window of some shards."""
        self.ask(Wants(shards=set(shards)))

    def ask(self, wants: Wants) -> None:
        self._wants.add(wants)
        self._is_wanted.set()

    def note_hints_lost(self) -> None:
        """From now on hints do not arrive."""
        self.hints_are_lost = True
        self._is_wanted.set()

    def note_hints_heard(self) -> None:
        """From now on hints arrive; some may have been lost before."""
        self.hints_are_lost = False
        self.ask_window()

    def take(self) -> Wants:
        """Hand over what was asked for since the last time."""
        wants, self._wants = self._wants, Wants()
        self._is_wanted = trio.Event()
        return wants

    async def wait_wanted(self) -> None:
        await self._is_wanted.wait()
