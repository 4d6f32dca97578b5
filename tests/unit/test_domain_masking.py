from __future__ import annotations

import pytest

from timer_trio.domain.masking import (
    MASK,
    NOTHING,
    USUAL,
    sensitive_headers,
    shown_headers,
    shown_pairs,
)


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "authorization", "PROXY-AUTHORIZATION", "Cookie", "set-cookie"),
        *("X-Api-Key", "X-API-KEY", "x_api_key", "X_Api-Key"),
    ],
)
def test_credentials_are_masked_however_their_name_is_written(name: str) -> None:
    assert shown_headers({name: "s3cret"}, USUAL) == {name: MASK}
    assert shown_pairs([(name, "s3cret")], USUAL) == [(name, MASK)]
    assert shown_headers({name: "s3cret"}, NOTHING) == {name: "s3cret"}


def test_operator_adds_names_and_takes_none_away() -> None:
    sensitive = sensitive_headers(["X_Token"])
    headers = {"x-token": "a", "Authorization": "b", "X-Token-2": "c"}
    assert shown_headers(headers, sensitive) == {
        "x-token": MASK,
        "Authorization": MASK,
        "X-Token-2": "c",
    }
    assert shown_headers(headers, USUAL)["x-token"] == "a"


def test_mask_is_nothing_that_a_header_can_have() -> None:
    assert not MASK.isascii()
