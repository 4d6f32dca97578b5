"""What an API key is: an id that finds its row, and a secret of which that row has the hash.

A key is written `tt_<id>_<secret>`. The id's end is a seal on its beginning: who makes one up is
found out without a look at the database. The seal guards nothing but that look.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple, NewType

from timer_trio.domain.project import Project, ProjectId, Scope

KeyId = NewType("KeyId", str)

ID_BYTES: Final = 8
SECRET_BYTES: Final = 32
_SEAL_DIGITS: Final = 8
ID_PATTERN: Final = "[0-9a-f]{24}"
_TOKEN: Final = re.compile(rf"tt_({ID_PATTERN})_([0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is shown of a key."""

    id: KeyId
    project: ProjectId
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    """To the minute, and a minute or so late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """What is known of a key that somebody sends, and of the project that it is in."""

    key: ApiKey
    secret_sha256: bytes = field(repr=False)
    project: Project

    def has(self, secret: str) -> bool:
        """Tell whether a secret is that of the key, in the same time whatever it is."""
        return hmac.compare_digest(digest(secret), self.secret_sha256)

    def has_expired(self, now: datetime) -> bool:
        return self.key.expires_at is not None and self.key.expires_at <= now


class Token(NamedTuple):
    """A key as it is sent."""

    id: KeyId
    secret: str

    def __str__(self) -> str:
        return f"tt_{self.id}_{self.secret}"

    def __repr__(self) -> str:
        return f"Token(id={self.id!r})"


def new_token(id_bytes: bytes, secret_bytes: bytes, seal: bytes) -> Token:
    """Make a key of random bytes."""
    beginning = id_bytes.hex()
    return Token(KeyId(beginning + _sealed(beginning, seal)), secret_bytes.hex())


def read_token(text: str) -> Token | None:
    """Read a key; None: it is none."""
    match = _TOKEN.fullmatch(text)
    return Token(KeyId(match[1]), match[2]) if match else None


def is_key_id(text: str) -> bool:
    return re.fullmatch(ID_PATTERN, text) is not None


def bears_seal(key_id: KeyId, seal: bytes) -> bool:
    """Tell whether an id was made by the service."""
    beginning, end = key_id[:-_SEAL_DIGITS], key_id[-_SEAL_DIGITS:]
    return hmac.compare_digest(_sealed(beginning, seal), end)


def digest(secret: str) -> bytes:
    # A hash that takes its time is for secrets that people choose.
    return sha256(secret.encode()).digest()


def to_the_minute(instant: datetime) -> datetime:
    return instant - timedelta(seconds=instant.second, microseconds=instant.microsecond)


def _sealed(beginning: str, seal: bytes) -> str:
    return hmac.digest(seal, beginning.encode(), sha256).hex()[:_SEAL_DIGITS]
