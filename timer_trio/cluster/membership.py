"""What follows from each heartbeat: who owns which shards, and what is to be read anew."""

from __future__ import annotations

from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet

import structlog

from timer_trio.cluster.hints import Hints
from timer_trio.delivery.agenda import Agenda
from timer_trio.domain.timer import ReplicaId

log = structlog.get_logger()


class Membership:
    """Divides the shards among those who live, and has read what that or an outage calls for.

    `plan_anew` has the schedules looked at, and `look_for_leftovers` what this replica holds.
    """

    def __init__(
        self,
        agenda: Agenda,
        hints: Hints,
        plan_anew: Callable[[], None],
        look_for_leftovers: Callable[[], None],
    ) -> None:
        self._agenda = agenda
        self._hints = hints
        self._plan_anew = plan_anew
        self._look_for_leftovers = look_for_leftovers

    def resume(self) -> None:
        """Look at all anew: the lease was not held, or the database's clock was set."""
        self._agenda.wake()
        # Hints were missed if the database was away.
        self._agenda.refill.ask_window()
        self._plan_anew()

    def note_connected(self) -> None:
        """Look for what is left of an outage: another server may answer now."""
        self._look_for_leftovers()

    def note_freed(self) -> None:
        """Look for timers that became claimable: nobody here may know of them."""
        self._agenda.refill.ask_near()

    def divide(self, replica: ReplicaId, members: Collection[ReplicaId]) -> None:
        """Divide the shards among these members; `replica` is this one."""
        shards = self._agenda.shards
        before = shards.own
        if shards.divide(replica, members):
            log.info("shards", own=len(shards.own), replicas=len(members))
            self._change(before)

    def keep(self, within: range, of: range) -> None:
        """Work on these shards of those that there are: the others go to another database."""
        shards = self._agenda.shards
        before = shards.own
        if shards.keep(within, of):
            log.info("shards_kept", within=len(within), of=len(of))
            self._change(before)

    def _change(self, before: AbstractSet[int]) -> None:
        """Follow a change of what this replica owns."""
        lost = before - self._agenda.shards.own
        self._agenda.gates.lose(lost)
        self._agenda.gates.open_flows()
        self._agenda.refill.ask_window()
        self._plan_anew()
        self._hints.hand_over(lost)
