from __future__ import annotations

import base64
import hmac
import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import LATER, NOW, SOON
from timer_trio.domain.errors import LastSecretError, SecretNotFoundError, TooManySecretsError
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.sealed import MARK
from timer_trio.domain.signing import (
    MAX_VALID,
    PREFIX,
    SecretText,
    Signer,
    SigningSecret,
    in_order,
    key_of,
    new_secret,
    rotated,
    signature,
    without,
)

BITS = random.Random(7).getrandbits
KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET = SecretText(PREFIX + KEY)


def secret(created_at: datetime = NOW, expires_at: datetime | None = None) -> SigningSecret:
    return replace(new_secret(DEFAULT_PROJECT, created_at, BITS), expires_at=expires_at)


def test_signature_is_that_of_standard_webhooks() -> None:
    head = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330."
    signed = Signer(SECRET).sign(head, b'{"test": 2432232314}')
    assert signed == b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(key=st.binary(min_size=24, max_size=64), head=st.binary(), body=st.binary())
def test_signature_is_the_hmac_of_head_and_body(key: bytes, head: bytes, body: bytes) -> None:
    signer = Signer(SecretText(PREFIX + base64.b64encode(key).decode()))
    expected = base64.b64encode(hmac.digest(key, head + body, "sha256"))
    assert signer.sign(head, body) == signer.sign(head, body) == b"v1," + expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "whsec_", KEY, f"WHSEC_{KEY}", f"{SECRET} ", f"{SECRET}ä"),
        f"whsec_{base64.b64encode(b'x' * 23).decode()}",
        f"whsec_{base64.b64encode(b'x' * 65).decode()}",
    ],
)
def test_what_is_no_secret_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no signing secret") as raised:
        Signer(SecretText(text))
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert KEY not in str(raised.value)


def test_new_secrets_have_256_random_bits_and_an_id_of_their_own() -> None:
    one, two = secret(), secret()
    assert len(key_of(one.secret)) == 32
    assert one.secret != two.secret
    assert one.id != two.id
    assert (one.id.version, one.id.variant) == (4, "specified in RFC 4122")
    assert one.expires_at is None


def test_a_secret_is_in_no_repr() -> None:
    one = secret()
    assert one.secret not in repr(one)
    assert one.secret.removeprefix(PREFIX) not in repr(Signer(one.secret))


def test_each_valid_secret_signs_in_its_order() -> None:
    old, older, current = Signer(SECRET, LATER), Signer(SECRET, SOON), Signer(secret().secret)
    signers, head = [older, old, current], b"id.1."
    first, last = old.sign(head, b""), current.sign(head, b"")
    assert signature(signers, NOW, head, b"") == b" ".join([first, first, last])
    assert signature(signers, SOON, head, b"") == b" ".join([first, last])
    assert signature(signers, LATER, head, b"") == last
    assert signature([current], LATER, head, b"") == last


def test_nothing_goes_out_without_a_signature() -> None:
    ended = Signer(SECRET, NOW)
    assert signature([ended], LATER, b"id.1.", b"") == ended.sign(b"id.1.", b"")


def test_current_secret_comes_last() -> None:
    current, old, older = secret(), secret(NOW, LATER), secret(NOW - timedelta(1), SOON)
    assert in_order([current, old, older]) == [older, old, current]


def test_rotation_ends_the_current_secret_alone() -> None:
    old, current, new = secret(NOW, SOON), secret(SOON), secret(SOON)
    ends = replace(current, expires_at=LATER)
    assert rotated([old, current], new, LATER, NOW) == [old, ends, new]
    assert rotated([old, current], new, LATER, SOON) == [ends, new]
    assert rotated([], new, LATER, NOW) == [new]


def test_rotation_beyond_the_limit_is_refused() -> None:
    secrets = [secret(NOW, LATER) for _ in range(MAX_VALID - 1)]
    assert len(rotated(secrets, secret(), LATER, NOW)) == MAX_VALID
    with pytest.raises(TooManySecretsError, match="delete one"):
        rotated([*secrets, secret()], secret(), LATER, NOW)
    assert len(rotated([*secrets, secret()], secret(), LATER + timedelta(1), LATER)) == 2


def test_current_secret_that_is_deleted_leaves_the_newest_to_be_it() -> None:
    older, old, current = secret(NOW, LATER), secret(SOON, LATER), secret(LATER)
    left = without([older, old, current], current.id, NOW)
    assert left == [older, replace(old, expires_at=None)]
    assert without([older, old, current], older.id, NOW) == [old, current]


def test_only_what_is_valid_can_be_deleted_and_never_the_last() -> None:
    old, current = secret(NOW, SOON), secret(NOW)
    with pytest.raises(SecretNotFoundError):
        without([current], old.id, NOW)
    with pytest.raises(SecretNotFoundError):
        without([old, current], old.id, SOON)
    with pytest.raises(LastSecretError, match="rotate it"):
        without([old, current], current.id, SOON)


def test_secret_that_nobody_has_opened_signs_nothing() -> None:
    with pytest.raises(ValueError, match="ENCRYPTION_KEYS"):
        key_of(SecretText(f"{MARK}x"))
