"""Whether a callback is genuine: signed, and not long ago, as Standard Webhooks has it."""

from __future__ import annotations

import hmac
import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from timer_trio.client.errors import VerificationError

TOLERANCE: Final = timedelta(minutes=5)
_PREFIX: Final = "whsec_"
_VERSION: Final = "v1,"
_NAMES: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_SECONDS: Final = re.compile(r"[0-9]{1,11}", re.ASCII)


class Headers(Protocol):
    """The headers of a request as frameworks have them; their names in any case."""

    def items(self) -> Iterable[tuple[str, str]]: ...


@dataclass(frozen=True, kw_only=True)
class VerifiedCallback:
    """What is signed of a callback."""

    id: str
    """Of the timer; the same for each attempt, so who remembers it does nothing twice."""
    sent_at: datetime
    body: bytes = field(repr=False)

    @property
    def payload(self) -> Any:
        """The JSON value in the body; None as well where there is no body.

        Raises:
            ValueError: the body is something else.
        """
        return json.loads(self.body) if self.body else None


def verify(
    headers: Headers,
    body: bytes,
    secrets: str | Iterable[str],
    *,
    tolerance: timedelta = TOLERANCE,
    now: datetime | None = None,
) -> VerifiedCallback:
    """Return a callback that one of the secrets has signed, within `tolerance` of now.

    `body` is what came, byte for byte. `now` is by default the time of this machine.

    Raises:
        VerificationError: it is not genuine: answer 401.
        ValueError: a secret is none.
    """
    keys = _keys(secrets)
    webhook_id, timestamp, signatures = _signed_headers(headers)
    sent_at = _sent_at(timestamp)
    signed = _bytes(f"{webhook_id}.{timestamp}.") + body
    genuine = [b2a_base64(hmac.digest(key, signed, "sha256"), newline=False) for key in keys]
    given = list(_signatures_in(signatures))
    if not any(hmac.compare_digest(each, one) for each in genuine for one in given):
        raise VerificationError("none of the secrets has signed this callback")
    away = abs(sent_at - (now or _machine_time()))
    if away > tolerance:
        seconds = round(away.total_seconds())
        raise VerificationError(f"the callback was signed {seconds}s from now: too old or too new")
    return VerifiedCallback(id=webhook_id, sent_at=sent_at, body=body)


def _keys(secrets: str | Iterable[str]) -> list[bytes]:
    keys = [_key(each) for each in ([secrets] if isinstance(secrets, str) else secrets)]
    if not keys:
        raise ValueError("at least one signing secret is needed")
    return keys


def _key(secret: str) -> bytes:
    try:
        key = a2b_base64(secret.removeprefix(_PREFIX), strict_mode=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(f"a signing secret is {_PREFIX} and base64") from None
    return key


def _signed_headers(headers: Headers) -> tuple[str, str, str]:
    named = [(name.lower(), value) for name, value in headers.items()]
    found = [[value for known, value in named if known == name] for name in _NAMES]
    for name, values in zip(_NAMES, found, strict=True):
        if len(values) != 1:
            raise VerificationError(f"the callback has {'no' if not values else 'two'} {name}")
    webhook_id, timestamp, signatures = (value for (value,) in found)
    return webhook_id, timestamp, signatures


def _sent_at(timestamp: str) -> datetime:
    if not _SECONDS.fullmatch(timestamp):
        raise VerificationError("webhook-timestamp is no number of seconds")
    return datetime.fromtimestamp(int(timestamp), UTC)


def _signatures_in(text: str) -> Iterator[bytes]:
    for each in text.split(" "):
        if each.startswith(_VERSION):
            yield _bytes(each.removeprefix(_VERSION))


def _bytes(text: str) -> bytes:
    # A stranger chose it: what no genuine header has must not fail either.
    return text.encode(errors="backslashreplace")


def _machine_time() -> datetime:
    # Whether it is fresh for its receiver: by the receiver's own clock.
    return datetime.now(UTC)  # noqa: TID251 - it schedules nothing
