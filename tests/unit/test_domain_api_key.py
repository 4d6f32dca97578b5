from __future__ import annotations

from datetime import UTC, datetime, timedelta

from timer_trio.domain.api_key import (
    ApiKey,
    KeyId,
    KnownKey,
    bears_seal,
    digest,
    is_key_id,
    new_token,
    read_token,
    to_the_minute,
)
from timer_trio.domain.project import DEFAULT_PROJECT, Project, Scope

NOW = datetime(2030, 1, 1, 12, 30, 45, 500_000, tzinfo=UTC)
SEAL = bytes(range(32))
TOKEN = new_token(bytes(8), bytes(range(32)), SEAL)


def known(expires_at: datetime | None = None) -> KnownKey:
    key = ApiKey(
        id=TOKEN.id,
        project=DEFAULT_PROJECT,
        name="ci",
        scopes=frozenset({Scope.READ}),
        created_at=NOW,
        expires_at=expires_at,
    )
    project = Project(id=DEFAULT_PROJECT, name="default", created_at=NOW)
    return KnownKey(key=key, secret_sha256=digest(TOKEN.secret), project=project)


def test_key_is_read_as_it_is_written() -> None:
    assert read_token(str(TOKEN)) == TOKEN
    assert is_key_id(TOKEN.id)
    text = str(TOKEN)
    for wrong in ("", "k" * 32, text[1:], text[:-1], f"{text}0", f" {text}", text.upper()):
        assert read_token(wrong) is None
    assert not is_key_id(TOKEN.id[1:])


def test_id_bears_the_seal_that_it_was_made_with() -> None:
    assert bears_seal(TOKEN.id, SEAL)
    assert not bears_seal(TOKEN.id, bytes(32))
    for place in (0, 23):
        other = "1" if TOKEN.id[place] != "1" else "2"
        changed = TOKEN.id[:place] + other + TOKEN.id[place + 1 :]
        assert not bears_seal(KeyId(changed), SEAL)


def test_no_secret_is_in_a_repr() -> None:
    shown = repr(TOKEN) + repr(known())
    assert TOKEN.secret not in shown
    assert repr(digest(TOKEN.secret)) not in shown


def test_key_is_known_by_its_secret() -> None:
    assert known().has(TOKEN.secret)
    assert not known().has("0" * 64)


def test_key_expires_at_its_instant() -> None:
    assert not known().has_expired(NOW)
    assert known(NOW).has_expired(NOW)
    assert not known(NOW + timedelta(microseconds=1)).has_expired(NOW)


def test_minute_has_no_seconds() -> None:
    assert to_the_minute(NOW) == NOW.replace(second=0, microsecond=0)
