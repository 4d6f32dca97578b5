"""The signing secrets of projects in memory, and what they put on a callback as it goes out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Container, Sequence
from functools import partial
from math import inf
from typing import Final, NoReturn
from weakref import WeakValueDictionary

import structlog
import trio

from timer_trio.backoff import Backoff
from timer_trio.clock import Clock
from timer_trio.domain.errors import StorageError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.signing import SecretId, Signer, Signing, SigningSecret, signature
from timer_trio.domain.timer import ClaimedTimer
from timer_trio.storage import SigningStorage
from timer_trio.storage.signing import secrets_of

RENEW_S: Final = 2.5
"""Between readings while something is in hand: so a rotation holds everywhere within 5 s."""
FRESH_S: Final = 3.0
"""What was read longer ago is read again before anything is claimed to be signed with it."""
AGAIN: Final = Backoff(first_s=0.02, longest_s=0.5)
"""Before a reading that failed is repeated: at first soon, since a timer may wait for it."""
PATIENCE_S: Final = 1.0
"""How long a callback waits for stale secrets to be read again, before it is made with them."""
FORGET_S: Final = 600.0
"""Secrets of a project of which nothing was claimed for so long are read anew when needed."""

Sign = Callable[[bytes, bytes], bytes]
"""Returns the last lines of a head, for the spelled id of a timer and a body that goes out now."""

log = structlog.get_logger()


class ProjectKeys:
    """What signs for one project; renewed in place, so that whoever has it signs as of today."""

    __slots__ = ("__weakref__", "read_s", "secrets", "signers", "used_s")

    def __init__(self, used_s: float) -> None:
        self.secrets: Sequence[SigningSecret] = []
        self.signers: Sequence[Signer] = ()
        self.read_s = -inf
        self.used_s = used_s


class SigningKeys:
    """Knows the secrets of the projects whose timers are claimed, and reads them again in time.

    They are read before a callback of a project is made, never on its way out; what is known is
    used for as long as the database does not answer. `is_busy` says whether anything is in hand
    that may still be sent.
    """

    def __init__(
        self,
        *,
        storage: SigningStorage,
        clock: Clock,
        is_busy: Callable[[], bool],
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._is_busy = is_busy
        self._random_bits = random_bits
        self._known: dict[ProjectId, ProjectKeys] = {}
        # What was claimed is renewed until it is sent, however long it stands in line.
        self._in_use: WeakValueDictionary[ProjectId, ProjectKeys] = WeakValueDictionary()
        self._wanted: dict[ProjectId, None] = {DEFAULT_PROJECT: None}
        self._being_read: Container[ProjectId] = ()
        self._unreadable: set[SecretId] = set()
        self._expected = trio.Event()
        self._hurried = trio.Event()
        self._tried = trio.Event()

    async def run(self) -> NoReturn:
        """Read what is wanted, and again what is in use, for ever."""
        pause_s = 0.0
        while True:
            is_read = await self._read()
            self._tried.set()
            self._tried = trio.Event()
            pause_s = 0.0 if is_read else AGAIN.next_s(pause_s)
            if not is_read:
                await trio.sleep(pause_s)
                continue
            with trio.move_on_after(RENEW_S):
                await self._hurried.wait()
            if not (self._hurried.is_set() or self._is_busy()):
                self._expected = trio.Event()
                await self._expected.wait()
            self._hurried = trio.Event()

    def expect(self) -> None:
        """Know that timers are being claimed: whoever rests reads meanwhile what they may need."""
        self._expected.set()

    def are_ready(self, timer: ClaimedTimer) -> bool:
        """Whether the callback of a timer can be made now; what signs it counts as used."""
        return timer.spec.signing is Signing.NONE or self._are_fresh(timer.project)

    async def wait_ready(self, project: ProjectId) -> None:
        """Return once the secrets of a project are known.

        Stale ones are read again, and do if that fails.
        """
        while not self._are_fresh(project):
            self._ask(project)
            with trio.move_on_after(PATIENCE_S if project in self._known else inf):
                await self._tried.wait()
            if project in self._known:
                return

    def sign_for(self, timer: ClaimedTimer) -> Sign | None:
        """Return what signs the callback of a timer; None: it goes out without.

        Raises:
            KeyError: the secrets of its project are not known.
        """
        if timer.spec.signing is Signing.NONE:
            return None
        keys = self._in_use[timer.project]
        return partial(signed_lines, keys, self._clock)

    def _are_fresh(self, project: ProjectId) -> bool:
        keys = self._known.get(project)
        if keys is None:
            return False
        keys.used_s = trio.current_time()
        return keys.read_s >= keys.used_s - FRESH_S

    def _ask(self, project: ProjectId) -> None:
        if project not in self._being_read:
            self._wanted[project] = None
            self._hurried.set()
            self._expected.set()

    async def _read(self) -> bool:
        """Read all that is wanted or in use; False: some of it cannot be read now."""
        began_s = trio.current_time()
        self._being_read = projects = [*{**self._wanted, **dict.fromkeys(self._in_use)}]
        try:
            read = await secrets_of(self._storage, projects, self._clock.now(), self._random_bits)
        except StorageError as error:
            log.debug("signing_secrets_not_read", reason=str(error))
            return False
        finally:
            self._being_read = ()
        found: dict[ProjectId, list[SigningSecret]] = {project: [] for project in projects}
        for secret in read:
            found[secret.project].append(secret)
        taken = [self._take(project, own, began_s) for project, own in found.items()]
        for project in [p for p, keys in self._known.items() if keys.used_s < began_s - FORGET_S]:
            del self._known[project]
        return all(taken)

    def _take(self, project: ProjectId, read: Sequence[SigningSecret], began_s: float) -> bool:
        keys = self._in_use.get(project) or ProjectKeys(used_s=began_s)
        if read != keys.secrets:
            signers = [signer for secret in read if (signer := self._signer_of(secret))]
            if not signers:  # somebody must mend the row, and until then what is known is used
                return False
            keys.secrets, keys.signers = read, signers
        keys.read_s = began_s
        self._in_use[project] = self._known[project] = keys
        self._wanted.pop(project, None)
        return True

    def _signer_of(self, secret: SigningSecret) -> Signer | None:
        try:
            return Signer(secret.secret, secret.expires_at)
        except ValueError as error:
            if secret.id not in self._unreadable:
                self._unreadable.add(secret.id)
                log.warning("secret_unreadable", secret_id=str(secret.id), reason=str(error))
            return None


def signed_lines(keys: ProjectKeys, clock: Clock, spelled_id: bytes, body: bytes) -> bytes:
    """Return the last lines of the head of a callback that goes out now."""
    now = clock.now()
    timestamp = b"%d" % now.timestamp()
    signed = signature(keys.signers, now, b"%b.%b." % (spelled_id, timestamp), body)
    return b"webhook-timestamp: %b\r\nwebhook-signature: %b\r\n\r\n" % (timestamp, signed)
