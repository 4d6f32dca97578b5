from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from tests.contract.timers import ANSWER, new_timer, record, spec
from timer_trio.callback_url import read_url
from timer_trio.domain.errors import SealedError
from timer_trio.domain.sealed import HEADERS, MARK, is_sealed, is_sealed_answer, require_open
from timer_trio.domain.timer import JsonText, ResultTarget
from timer_trio.storage.cipher import Cipher, cipher_of
from timer_trio.storage.sealing import (
    open_answer,
    open_spec,
    opened_record,
    opened_spec,
    resealed_answer,
    resealed_headers,
    resealed_text,
    sealed_answer,
    sealed_change,
    sealed_spec,
    sealed_timer,
)

OLD = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0="
NEW = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0="
TARGET = ResultTarget(url=read_url("https://example.org/"), headers={"X-Own": "secret-t"})
WHOLE = spec(
    callback_headers={"Authorization": "secret-h"},
    callback_payload=JsonText('{"card": "secret-p"}'),
    on_completed=TARGET,
    on_failed=TARGET,
)


def test_what_is_sealed_shows_nothing_and_opens_to_what_it_was() -> None:
    cipher = Cipher([NEW])
    for text in ("", "secret", '{"ü": "\\ud800"}', "x" * 300_000):
        sealed = cipher.seal(text)
        assert sealed.startswith(MARK)
        assert "secret" not in sealed
        assert cipher.open(sealed) == text


def test_what_is_sealed_is_not_sealed_again() -> None:
    cipher = Cipher([NEW])
    sealed = cipher.seal("a")
    assert Cipher([OLD]).seal(sealed) == cipher.seal(sealed) == sealed


def test_without_keys_all_passes_as_it_is_and_nothing_is_imported() -> None:
    cipher = Cipher()
    assert not cipher.seals
    assert (cipher.seal("a"), cipher.open("a")) == ("a", "a")
    assert (cipher.seal_bytes(b"a"), sealed_answer(ANSWER, cipher)) == (b"a", ANSWER)
    assert (sealed_spec(WHOLE, cipher), open_spec(WHOLE, cipher)) == (WHOLE, WHOLE)
    code = (
        "import sys, timer_trio.run.main, timer_trio.storage.cipher as c; c.Cipher().seal('a');"
        "sys.exit('cryptography.fernet' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own words


def test_first_key_writes_and_all_read() -> None:
    before, between, after = Cipher([OLD]), Cipher([NEW, OLD]), Cipher([NEW])
    old, new = before.seal("a"), between.seal("a")
    assert (between.open(old), between.open(new), after.open(new)) == ("a", "a", "a")
    for cipher, sealed in ((after, old), (before, new), (Cipher(), old)):
        assert not cipher.lacks_key
        with pytest.raises(SealedError, match="ENCRYPTION_KEYS"):
            cipher.open(sealed)
        assert cipher.lacks_key


def test_plain_in_the_first_place_reads_and_does_not_write() -> None:
    cipher = cipher_of(SecretStr(f"plain, {NEW}"))
    assert not cipher.seals
    assert cipher.seal("a") == "a"
    assert cipher.open(Cipher([NEW]).seal("a")) == "a"


@pytest.mark.parametrize("token", ["", "x", "gAAAAA", "ü", "gAAAAABn" * 20, "\ud800", "a b\n"])
def test_a_token_that_is_none_is_told_in_words(token: str) -> None:
    with pytest.raises(SealedError):
        Cipher([NEW]).open(MARK + token)


def test_a_token_that_was_changed_is_not_opened() -> None:
    cipher = Cipher([NEW])
    sealed = cipher.seal("a")
    for place in (len(MARK), len(sealed) // 2, len(sealed) - 5):
        other = "A" if sealed[place] != "A" else "B"
        with pytest.raises(SealedError):
            cipher.open(sealed[:place] + other + sealed[place + 1 :])


def test_no_repr_shows_a_key() -> None:
    for cipher in (Cipher([NEW]), Cipher(["plain", NEW])):
        assert NEW not in repr(cipher) + str(vars(cipher))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([NEW], False),
        ([OLD], True),
        ([OLD, NEW], True),
        ([NEW, OLD], False),
        (["plain", OLD], False),
    ],
)
def test_what_is_current_has_the_first_key(keys: list[str], *, expected: bool) -> None:
    cipher = Cipher(keys)
    assert cipher.is_current(Cipher([OLD]).seal("a")) is expected
    assert cipher.is_current("a") is not cipher.seals


def test_what_no_database_stores_is_left_for_it_to_refuse() -> None:
    for text in ("\0", "\ud800"):
        assert Cipher([NEW]).seal(text) == text


def test_a_spec_is_sealed_whole_and_opened_whole() -> None:
    cipher = Cipher([NEW])
    sealed = sealed_spec(WHOLE, cipher)
    assert "secret" not in repr(sealed)
    assert [*sealed.callback.headers] == [HEADERS]
    assert is_sealed(sealed)
    assert not is_sealed(WHOLE)
    assert open_spec(sealed, cipher) == WHOLE
    assert sealed_spec(sealed, cipher) == sealed
    assert sealed_timer(replace(new_timer(), spec=sealed), cipher).spec == sealed


@pytest.mark.parametrize("name", ["callback_headers", "callback_payload", "on_completed"])
def test_whatever_is_sealed_is_noticed(name: str) -> None:
    asked: dict[str, Any] = {
        "callback_headers": {"X": "secret"},
        "callback_payload": JsonText('"secret"'),
        "on_completed": TARGET,
    }
    plain: dict[str, Any] = {"callback_payload": None, "callback_headers": {}}
    cipher = Cipher([NEW])
    one = spec(**(plain | {name: asked[name]}))
    sealed = sealed_spec(one, cipher)
    assert is_sealed(sealed)
    assert opened_spec(sealed, cipher) == one
    assert opened_spec(sealed, Cipher()) == sealed
    with pytest.raises(SealedError):
        require_open(sealed)
    change = sealed_change({name: asked[name]}, cipher)  # type: ignore[misc]  # by its name
    assert "secret" not in repr(change)


def test_what_holds_nothing_secret_is_left_as_it_is() -> None:
    bare = spec(callback_headers={}, callback_payload=None)
    assert sealed_spec(bare, Cipher([NEW])) == bare


def test_an_answer_is_sealed_with_its_body() -> None:
    cipher = Cipher([NEW])
    for headers, body in ((ANSWER.headers, ANSWER.body), ((), b""), ((), b"fernet:\xff")):
        answer = ANSWER._replace(headers=headers, body=body)
        sealed = sealed_answer(answer, cipher)
        assert is_sealed_answer(sealed)
        assert body not in sealed.body or not body
        assert open_answer(sealed, cipher) == answer
        assert sealed_answer(sealed, cipher) == sealed
        kept = record(answer=sealed)
        assert opened_record(kept, cipher).answer == answer
        assert opened_record(kept, Cipher([OLD])) == kept


def test_what_was_moved_from_another_place_is_not_opened() -> None:
    cipher = Cipher([NEW])
    for text in ("", "x", "1", "[]", '{"X": 1}', '{"X": {}}', '{"a":' * 99_999):
        moved = spec(callback_headers={HEADERS: cipher.seal(text)})
        with pytest.raises(SealedError):
            open_spec(moved, cipher)
    body = cipher.seal_bytes(b"\xff").decode()
    with pytest.raises(SealedError):
        open_spec(spec(callback_payload=JsonText(body)), cipher)
    for pairs in ("1", "[1]", '{"a": 1}', "x"):
        with pytest.raises(SealedError):
            open_answer(ANSWER._replace(headers=((HEADERS, cipher.seal(pairs)),)), cipher)
    with pytest.raises(SealedError):
        open_answer(sealed_answer(ANSWER, cipher)._replace(body=b"moved"), cipher)


def test_resealing_changes_what_has_another_key_alone() -> None:
    before, after = Cipher([OLD]), Cipher([NEW, OLD])
    old, headers = before.seal("a"), {HEADERS: before.seal('{"X": "a"}')}
    answer = sealed_answer(ANSWER, before)
    new = resealed_text(old, after)
    assert Cipher([NEW]).open(new) == "a"
    assert resealed_text(new, after) == new
    assert resealed_text(new, after.plain()) == "a"
    renewed = resealed_headers(headers, after)
    assert resealed_headers(renewed, after) is renewed
    assert resealed_headers(renewed, after.plain()) == {"X": "a"}
    assert resealed_headers({}, after) == {}
    fresh = resealed_answer(answer, after)
    assert open_answer(fresh, Cipher([NEW])) == ANSWER
    assert resealed_answer(fresh, after) is fresh
    assert resealed_answer(fresh, after.plain()) == ANSWER
    with pytest.raises(SealedError):
        resealed_text(old, Cipher([NEW]))
