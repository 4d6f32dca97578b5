from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.errors import SealedError
from timer_trio.domain.masking import NOTHING
from timer_trio.domain.rendering import attempt_json, retry_data
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.sealed import HEADERS, MARK

ENDED_AT = datetime(2030, 1, 1, tzinfo=UTC)


def body_of(body: bytes, *, is_truncated: bool) -> tuple[str, str]:
    answer = KeptAnswer(headers=(), body=body, is_truncated=is_truncated)
    record = AttemptRecord(
        attempt=1, started_at=None, ended_at=ENDED_AT, outcome="rejected", answer=answer
    )
    response: Any = json.loads(attempt_json(record, NOTHING))["response"]
    return response["body"], response["body_encoding"]


@pytest.mark.parametrize("end", ["\u00fc", "\u20ac", "\U0001f600"])
def test_text_that_is_cut_off_amid_a_character_is_text(end: str) -> None:
    encoded = end.encode()
    for length in range(1, len(encoded)):
        cut = b"Gr" + encoded[:length]
        assert body_of(cut, is_truncated=True) == ("Gr", "utf-8")
        assert body_of(cut, is_truncated=False)[1] == "base64"
    assert body_of(b"Gr" + encoded, is_truncated=True) == (f"Gr{end}", "utf-8")


@pytest.mark.parametrize("body", [b"\xff", b"a\xc3(", b"\xed\xa0\x80b", b"\xc3\xa4\xff"])
def test_what_is_no_text_stays_none_if_it_is_cut_off(body: bytes) -> None:
    assert body_of(body, is_truncated=True)[1] == "base64"


def test_answer_that_nobody_has_opened_is_not_shown() -> None:
    answer = KeptAnswer(headers=((HEADERS, f"{MARK}x"),), body=b"", is_truncated=False)
    record = AttemptRecord(
        attempt=1, started_at=None, ended_at=ENDED_AT, outcome="rejected", answer=answer
    )
    response = json.loads(attempt_json(record, NOTHING))["response"]
    assert response == {
        "headers": [],
        "body": "",
        "body_encoding": "utf-8",
        "truncated": True,
        "unreadable": str(SealedError()),
    }


def test_defaults_are_those_of_the_contract() -> None:
    assert retry_data(RetryPolicy()) == {
        "max_attempts": 5,
        "initial_delay_seconds": 10,
        "factor": 2,
        "max_delay_seconds": 3_600,
        "jitter": 0.2,
        "give_up_after_seconds": None,
    }
    assert retry_data(None) is None


def test_policy_with_delays_is_answered_without_what_they_stand_for() -> None:
    assert retry_data(RetryPolicy(delays=(10, 60), max_attempts=3)) == {
        "max_attempts": 3,
        "delays": [10, 60],
        "jitter": 0.2,
        "give_up_after_seconds": None,
    }
