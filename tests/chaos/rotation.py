"""What stands between consumers and replicas: a load balancer that looks who is ready."""

from __future__ import annotations

import trio

from tests.acceptance.client import Answer, NoAnswerError, NotSentError
from tests.chaos.fleet import Fleet, Replica

PROBE_S = 0.1


class NobodyInTurnError(NoAnswerError):
    """No replica takes requests."""


class Rotation:
    """Asks one replica after the other; `lost` names the requests that got no answer, or a 5xx."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._turn = 0
        self.asked = 0
        self.lost: list[str] = []

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Make a request.

        Raises:
            NoAnswerError: it was sent, and not answered.
        """
        return (await self.ask_any(method, path, body))[1]

    async def ask_any(self, method: str, path: str, body: object) -> tuple[Replica, Answer]:
        """Make a request, and tell who has answered; raises as `ask`."""
        self.asked += 1
        for _ in range(1 + len(self._fleet.members)):
            replica = self._next()
            try:
                answer = await replica.consumer.ask(method, path, body)
            except NotSentError:
                continue
            except NoAnswerError:
                self.lost.append(f"{method} {path} to {replica.name}: no whole answer")
                raise
            if answer.status >= 500:
                self.lost.append(f"{method} {path} to {replica.name}: {answer.status}")
            return replica, answer
        self.lost.append(f"{method} {path}: refused by all")
        raise NobodyInTurnError(path)

    async def watch(self, replica: Replica) -> None:
        """Take a replica out of turn as soon as it says that it is not ready, until it is over."""
        while replica.served.program.code is None:
            try:
                answer = await replica.consumer.ask("GET", "/health/ready")
                replica.is_in_turn = answer.status == 200
            except NoAnswerError:
                replica.is_in_turn = False
            await trio.sleep(PROBE_S)
        replica.is_in_turn = False

    def _next(self) -> Replica:
        in_turn = [replica for replica in self._fleet.members.values() if replica.is_in_turn]
        if not in_turn:
            raise NobodyInTurnError("nobody is ready")
        self._turn += 1
        return in_turn[self._turn % len(in_turn)]
