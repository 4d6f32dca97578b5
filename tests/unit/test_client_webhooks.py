"""What is genuine: judged beside the library of Standard Webhooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import pytest
from standardwebhooks import Webhook
from werkzeug.datastructures import Headers as WerkzeugHeaders

from timer_trio.client import VerificationError, verify

NOW: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECRET: Final = "whsec_" + "c2VjcmV0" * 4
OTHER: Final = "whsec_" + "b3RoZXIh" * 4
ID: Final = "019bd3c0-6f3e-7a51-9c42-5d1f0c9ab117"
BODY: Final = '{"greeting": "grüß"}'.encode()


def signature(secret: str = SECRET, at: datetime = NOW, body: bytes = BODY) -> str:
    return str(Webhook(secret).sign(ID, at, body.decode()))


def headers(**changed: str) -> dict[str, str]:
    given = {
        "webhook-id": ID,
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": signature(),
    }
    return given | {name.replace("_", "-"): value for name, value in changed.items()}


def test_genuine_callback_is_returned_with_what_is_signed_of_it() -> None:
    callback = verify(headers(), BODY, SECRET, now=NOW)
    assert (callback.id, callback.sent_at, callback.body) == (ID, NOW, BODY)
    assert callback.payload == {"greeting": "grüß"}


def test_callback_without_a_body_is_signed_too() -> None:
    empty = headers(webhook_signature=signature(body=b""))
    assert verify(empty, b"", SECRET, now=NOW).payload is None


@pytest.mark.parametrize("kind", [dict, httpx.Headers, WerkzeugHeaders])
def test_headers_are_those_of_any_framework(kind: type) -> None:
    upper = {name.title(): value for name, value in headers().items()}
    assert verify(kind(upper), BODY, SECRET, now=NOW).id == ID


def test_any_of_several_secrets_and_of_several_signatures_will_do() -> None:
    both = headers(webhook_signature=f"{signature(OTHER)} v1a,x {signature()}")
    for secrets in (SECRET, OTHER, [OTHER, SECRET], (SECRET,), {OTHER}):
        assert verify(both, BODY, secrets, now=NOW).id == ID
    assert verify(headers(), BODY, iter([OTHER, SECRET]), now=NOW).id == ID


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook_id": ID[:-1] + "8"},
        {"webhook_timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook_signature": signature(OTHER)},
        {"webhook_signature": signature().removeprefix("v1,")},
        {"webhook_signature": signature().replace("v1,", "v2,")},
        {"webhook_signature": signature()[:-1]},
        {"webhook_signature": ""},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v1,é\udcff"},
        {"webhook_id": "\udcff"},
    ],
)
def test_what_was_changed_on_its_way_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(VerificationError, match="none of the secrets"):
        verify(headers(**changed), BODY, SECRET, now=NOW)


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY.replace(b"g", b"G"), BODY[:-1]])
def test_body_that_was_changed_is_refused(body: bytes) -> None:
    with pytest.raises(VerificationError, match="none of the secrets"):
        verify(headers(), body, SECRET, now=NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_what_is_not_signed_is_refused(name: str) -> None:
    without = {known: value for known, value in headers().items() if known != name}
    with pytest.raises(VerificationError, match=f"the callback has no {name}"):
        verify(without, BODY, SECRET, now=NOW)
    twice = httpx.Headers([*headers().items(), (name, "x")])
    with pytest.raises(VerificationError, match=f"the callback has two {name}"):
        verify(WerkzeugHeaders(list(twice.multi_items())), BODY, SECRET, now=NOW)


@pytest.mark.parametrize("timestamp", ["", "soon", "-5", "1.5", "²", "9" * 30, " 1893499200"])
def test_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    with pytest.raises(VerificationError, match="webhook-timestamp is no number"):
        verify(headers(webhook_timestamp=timestamp), BODY, SECRET, now=NOW)


def test_callback_that_is_too_old_or_too_new_is_refused() -> None:
    given = headers()
    for seconds in (-300, 300):
        assert verify(given, BODY, SECRET, now=NOW + timedelta(seconds=seconds)).id == ID
    for seconds in (-301, 301):
        with pytest.raises(VerificationError, match="301s from now"):
            verify(given, BODY, SECRET, now=NOW + timedelta(seconds=seconds))
    within = timedelta(seconds=10)
    with pytest.raises(VerificationError, match="11s from now"):
        verify(given, BODY, SECRET, tolerance=within, now=NOW + timedelta(seconds=11))


def test_time_is_by_default_that_of_the_machine() -> None:
    fresh = datetime.now(UTC)  # noqa: TID251 - a receiver's own clock
    given = headers(
        webhook_timestamp=str(int(fresh.timestamp())), webhook_signature=signature(at=fresh)
    )
    assert verify(given, BODY, SECRET).id == ID
    with pytest.raises(VerificationError, match="from now"):
        verify(headers(), BODY, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_********", "whsec_é", [], ["whsec_!"]])
def test_what_is_no_secret_is_refused_in_words_that_do_not_tell_it(secret: str | list[str]) -> None:
    with pytest.raises(ValueError, match="signing secret") as caught:
        verify(headers(), BODY, secret, now=NOW)
    assert "!" not in str(caught.value)
    assert not isinstance(caught.value, VerificationError)
