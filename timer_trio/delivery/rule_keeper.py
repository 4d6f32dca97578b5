"""The stage that reads what people have changed of what holds callbacks back."""

from __future__ import annotations

from typing import Final, NoReturn

import structlog
import trio

from timer_trio.delivery.agenda import Agenda
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.project_shares import ProjectShares
from timer_trio.domain.rules import RuleChanges
from timer_trio.domain.timer import Lane
from timer_trio.storage import RuleStorage
from timer_trio.storage.group_commit import RETRY_PAUSE_S

_NONE: Final = -1

log = structlog.get_logger()


class RuleKeeper:
    """Has the rules of the database hold on this replica.

    Each heartbeat tells their version. Until that has been read nothing is claimed, and who cannot
    beat may not send: so a change holds everywhere when a lease has passed since its answer.
    """

    def __init__(self, *, storage: RuleStorage, agenda: Agenda, shares: ProjectShares) -> None:
        self._storage = storage
        self._agenda = agenda
        self._shares = shares
        self._known = 0
        self._asked = trio.Event()
        self.version = _NONE
        """Up to which all changes hold here."""

    @property
    def are_current(self) -> bool:
        """Whether all changes hold that a heartbeat has told of."""
        return self.version >= self._known

    def note_version(self, version: int) -> None:
        """Have changes up to this version read, if they are not known."""
        self._known = max(self._known, version)
        if not self.are_current:
            self._asked.set()

    def look(self) -> None:
        """Have changes read at once: one was made here."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Read what has changed, for ever."""
        self._asked.set()
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            try:
                changes = await self._storage.rules_since(max(0, self.version))
            except (StorageUnavailableError, ContentionError) as error:
                log.debug("rules_put_off", reason=str(error))
                self._asked.set()
                await trio.sleep(RETRY_PAUSE_S)
            else:
                self._take(changes)

    def _take(self, changes: RuleChanges) -> None:
        gates = self._agenda.gates
        self._shares.others_exist = changes.others_exist
        for rules in changes.projects:
            self._shares.set_limit(rules.project, rules.max_in_flight)
            gates.set_policy(rules.project, rules.breaker)
            gates.set_pause(rules.project, rules.pause)
        for each in changes.destinations:
            gates.set_pause(Lane(each.destination, each.project), each.pause)
        for flow, flow_rules in changes.flows.items():
            gates.set_flow_rules(flow, flow_rules)
        self.version = max(self.version, changes.version)
        self._agenda.wake()
