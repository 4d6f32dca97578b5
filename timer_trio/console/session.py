"""Who has signed in, as a cookie says it: sealed, so that any replica reads it and none keeps it.

The seal's key is made of API_KEY, which all replicas have: another API_KEY ends all sessions. A
cookie names a key and holds nothing of it: the key is looked up for each request, so a session ends
with its key, and can do what its key can at that moment.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from timer_trio.domain.api_key import KeyId, is_key_id
from timer_trio.domain.project import is_project_name

IDLE: Final = timedelta(hours=12)
"""After it a session has ended that nobody has used."""
LONGEST: Final = timedelta(days=7)
"""After it whoever has signed in has to do so again, however often he came."""
RENEWED_AFTER: Final = timedelta(minutes=5)
"""A cookie that is older is sent anew: not with each answer."""
MOST_TEXT: Final = 1_000
"""More than a cookie of ours has."""
NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody's visit; `key_id` is None for the key of the whole service, which has `project`."""

    key_id: KeyId | None
    project: str | None
    began_at: datetime
    used_at: datetime
    nonce: str
    """What tells it from others of the same key."""

    def used(self, now: datetime) -> Session:
        return replace(self, used_at=now)

    def has_ended(self, now: datetime) -> bool:
        return now >= self.used_at + IDLE or now >= self.began_at + LONGEST

    def is_to_be_renewed(self, now: datetime) -> bool:
        return now >= self.used_at + RENEWED_AFTER


class Sealer:
    """Seals what goes to a browser and comes back, with a key that all replicas have."""

    def __init__(self, api_key: str) -> None:
        self._key = hmac.digest(api_key.encode(), b"timer-trio console", sha256)

    def token(self, purpose: str, text: str) -> str:
        """Return what proves that the service has given out this text, for this purpose alone."""
        # Its length keeps one purpose from ending where another begins.
        sealed = f"{len(purpose)}:{purpose}:{text}".encode()
        return hmac.digest(self._key, sealed, sha256).hex()

    def bears(self, purpose: str, text: str, token: str) -> bool:
        """Tell whether a token is that of a text, in the same time whatever it is."""
        return hmac.compare_digest(self.token(purpose, text).encode(), token.encode())

    def seal(self, session: Session) -> str:
        """Write a session down for its cookie."""
        text = urlsafe_b64encode(json.dumps(_members(session)).encode()).decode()
        return f"{text}.{self.token('session', text)}"

    def open(self, cookie: str) -> Session | None:
        """Read a cookie; None: it is none of ours."""
        text, _, token = cookie.partition(".")
        if len(cookie) > MOST_TEXT or not cookie.isascii():
            return None
        if not self.bears("session", text, token):
            return None
        return _session(json.loads(urlsafe_b64decode(text)))


def _members(session: Session) -> dict[str, object]:
    return {
        "key": session.key_id,
        "project": session.project,
        "began": session.began_at.isoformat(),
        "used": session.used_at.isoformat(),
        "nonce": session.nonce,
    }


def _session(members: dict[str, Any]) -> Session | None:
    key_id, project = members["key"], members["project"]
    # A release that writes other ones has another purpose for them; this is no more than a belt.
    if key_id is not None and not is_key_id(key_id):
        return None
    if project is not None and not is_project_name(project):
        return None
    return Session(
        key_id=None if key_id is None else KeyId(key_id),
        project=project,
        began_at=datetime.fromisoformat(members["began"]),
        used_at=datetime.fromisoformat(members["used"]),
        nonce=members["nonce"],
    )
