"""How callbacks are signed, as Standard Webhooks has it: whose secrets, which are valid, and when.

Of each project one secret is *current*: it has no end. A rotation makes another one current, and
lets the one before it stay valid for a while, in which callbacks carry a signature by each: so a
receiver can change over at any time of it.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

from timer_trio.domain.errors import (
    LastSecretError,
    SecretNotFoundError,
    TooManySecretsError,
)
from timer_trio.domain.project import ProjectId
from timer_trio.domain.sealed import MARK

SecretId = NewType("SecretId", UUID)
SecretText = NewType("SecretText", str)
"""`whsec_` and the base64 of the bytes that sign."""

PREFIX: Final = "whsec_"
MASKED: Final = f"{PREFIX}********"
"""What is shown of a secret to whoever must not see it."""
MIN_BYTES: Final = 24
MAX_BYTES: Final = 64
NEW_BYTES: Final = 32
MAX_VALID: Final = 10
"""Valid secrets of a project: each makes a callback's head longer, and costs a signature."""
MAX_OVERLAP: Final = timedelta(days=30)
DEFAULT_OVERLAP: Final = timedelta(days=1)
_BLOCK: Final = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class Signing(StrEnum):
    """Whether a timer's callbacks are signed."""

    DEFAULT = "default"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecret:
    """A secret of a project; `expires_at` None: it is the current one."""

    id: SecretId
    project: ProjectId
    secret: SecretText = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now


class Signer:
    """Signs with one secret, until `expires_at`."""

    __slots__ = ("_inner", "_outer", "expires_at")

    def __init__(self, secret: SecretText, expires_at: datetime | None = None) -> None:
        """Prepare a secret.

        Raises:
            ValueError: it is none, in words that do not tell it.
        """
        # HMAC by hand (RFC 2104): what depends on the key alone is hashed once, and a copy of both
        # states takes a third of the time of `hmac.digest`.
        key = key_of(secret).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(key.translate(_INNER))
        self._outer = hashlib.sha256(key.translate(_OUTER))
        self.expires_at = expires_at

    def sign(self, head: bytes, body: bytes) -> bytes:
        """Return `v1,` and the signature of a message, whose `head` ends with a dot."""
        inner = self._inner.copy()
        inner.update(head)
        inner.update(body)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return b"v1," + binascii.b2a_base64(outer.digest(), newline=False)


def key_of(secret: SecretText) -> bytes:
    """Return the bytes that sign.

    Raises:
        ValueError: it is no secret, in words that do not tell it.
    """
    if secret.startswith(MARK):
        raise ValueError("is encrypted, by a key that ENCRYPTION_KEYS lacks")
    try:
        key = binascii.a2b_base64(secret.removeprefix(PREFIX), strict_mode=True)
    except ValueError:
        raise ValueError("is no signing secret: whsec_ and base64") from None
    if not secret.startswith(PREFIX) or not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"is no signing secret: whsec_, and {MIN_BYTES} to {MAX_BYTES} bytes")
    return key


def new_secret(
    project: ProjectId, now: datetime, random_bits: Callable[[int], int]
) -> SigningSecret:
    """Make a current secret."""
    key = random_bits(8 * NEW_BYTES).to_bytes(NEW_BYTES, "big")
    # A UUIDv4 (RFC 9562, section 5.4).
    bits = random_bits(128) & ~(0xF << 76 | 0b11 << 62) | 0x4 << 76 | 0b10 << 62
    text = PREFIX + binascii.b2a_base64(key, newline=False).decode("ascii")
    return SigningSecret(
        id=SecretId(UUID(int=bits)), project=project, secret=SecretText(text), created_at=now
    )


def signature(signers: Sequence[Signer], now: datetime, head: bytes, body: bytes) -> bytes:
    """Return a signature by each secret that is valid now, separated by spaces.

    The last secret always signs: it is the current one.
    """
    if len(signers) == 1:  # nearly always
        return signers[0].sign(head, body)
    valid = [s for s in signers[:-1] if s.expires_at is None or s.expires_at > now]
    return b" ".join([signer.sign(head, body) for signer in (*valid, signers[-1])])


def in_order(secrets: Iterable[SigningSecret]) -> list[SigningSecret]:
    """Return secrets in the order of their creation, the current one last."""
    return sorted(secrets, key=lambda s: (s.expires_at is None, s.created_at, s.id))


def rotated(
    secrets: Sequence[SigningSecret], new: SigningSecret, until: datetime, now: datetime
) -> list[SigningSecret]:
    """Return a project's secrets once `new` is the current one, and the last one ends at `until`.

    Raises:
        TooManySecretsError: that would be more than MAX_VALID.
    """
    stay = [s if s.expires_at else replace(s, expires_at=until) for s in secrets]
    valid = [*_valid(stay, now), new]
    if len(valid) > MAX_VALID:
        raise TooManySecretsError(MAX_VALID)
    return valid


def without(
    secrets: Sequence[SigningSecret], secret_id: SecretId, now: datetime
) -> list[SigningSecret]:
    """Return a project's secrets without one of them.

    If that was the current one, the newest of the others is it again.

    Raises:
        SecretNotFoundError: no valid one has this id.
        LastSecretError: no other one is valid.
    """
    valid = _valid(secrets, now)
    stay = [secret for secret in valid if secret.id != secret_id]
    if len(stay) == len(valid):
        raise SecretNotFoundError
    if not stay:
        raise LastSecretError
    if all(secret.expires_at for secret in stay):
        stay[-1] = replace(stay[-1], expires_at=None)
    return stay


def _valid(secrets: Iterable[SigningSecret], now: datetime) -> list[SigningSecret]:
    return in_order(secret for secret in secrets if secret.is_valid(now))
