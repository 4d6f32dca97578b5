"""What signs callbacks, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from timer_trio.domain.errors import SealedError
from timer_trio.domain.project import ProjectId
from timer_trio.domain.signing import SecretId, SecretText, SigningSecret, in_order
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.postgres.connections import Connection, rows_of
from timer_trio.storage.postgres.database import Database

_TURN: Final = 0x5369676E
"""Whoever changes the secrets of a project has this lock of it."""

Decide = Callable[[Sequence[SigningSecret]], Sequence[SigningSecret]]


class PostgresSigning(Database):
    """SigningStorage in PostgreSQL."""

    async def signing_secrets(
        self, projects: Collection[ProjectId], now: datetime
    ) -> Sequence[SigningSecret]:
        parameters = {"projects": [*projects], "now": now}
        rows = await self._stages.fetch("signing_secrets", parameters)
        secrets = in_order(_secret_of(row, self._cipher) for row in rows)
        return sorted(secrets, key=lambda secret: secret.project)

    async def add_signing_secrets(self, secrets: Sequence[SigningSecret]) -> None:
        await self._stages.fetch("add_signing_secrets", _columns_of(secrets, self._cipher))

    async def change_signing_secrets(
        self, project: ProjectId, decide: Decide
    ) -> Sequence[SigningSecret]:
        return await self._api.run(
            lambda connection: _change(connection, self._cipher, project, decide),
            verb="change_signing_secrets",
        )


def _change(
    connection: Connection, cipher: Cipher, project: ProjectId, decide: Decide
) -> Sequence[SigningSecret]:
    with connection.transaction():
        rows_of(connection, "lock_signing_secrets", {"turn": _TURN, "project": project})
        rows = rows_of(connection, "all_signing_secrets", {"project": project})
        changed = decide(in_order(_secret_of(row, cipher) for row in rows))
        ids = [secret.id for secret in changed]
        ends = [secret.expires_at for secret in changed]
        rows_of(connection, "keep_signing_secrets", {"project": project, "ids": ids})
        rows_of(connection, "end_signing_secrets", {"ids": ids, "ends": ends})
        rows_of(connection, "add_signing_secrets", _columns_of(changed[-1:], cipher))
    return changed


def _secret_of(row: Mapping[str, Any], cipher: Cipher) -> SigningSecret:
    text = row["secret"]
    with suppress(SealedError):  # it stays sealed, and signs nothing
        text = cipher.open(text)
    return SigningSecret(
        id=SecretId(row["id"]),
        project=ProjectId(row["project"]),
        secret=SecretText(text),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _columns_of(secrets: Sequence[SigningSecret], cipher: Cipher) -> Mapping[str, object]:
    return {
        "ids": [secret.id for secret in secrets],
        "projects": [secret.project for secret in secrets],
        "secrets": [cipher.seal(secret.secret) for secret in secrets],
        "instants": [secret.created_at for secret in secrets],
    }
