from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from timer_trio.client.call import BLOCK_BYTES, at, encoded, lines_of, parameters

BERLIN = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2030, 1, 1, 9, tzinfo=UTC), "2030-01-01T09:00:00+00:00"),
        (datetime(2030, 1, 1, 9, 0, 0, 5, tzinfo=BERLIN), "2030-01-01T09:00:00.000005+02:00"),
        (timedelta(days=1, milliseconds=5), 86_400.005),
        ("PT5M", "PT5M"),
        (None, None),
    ],
)
def test_instants_and_durations_are_written_as_the_service_reads_them(
    value: object, text: object
) -> None:
    assert json.loads(encoded({"a": [value]})) == {"a": [text]}


def test_instant_without_a_zone_is_refused_before_it_is_sent() -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - the point
    with pytest.raises(ValueError, match="no time zone"):
        encoded(naive)
    with pytest.raises(ValueError, match="no time zone"):
        parameters({"created_after": naive})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", object()])
def test_what_json_has_not_is_refused_before_it_is_sent(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        encoded({"callback_payload": value})


def test_filters_are_written_as_parameters() -> None:
    after = datetime(2030, 1, 1, tzinfo=UTC)
    metadata: dict[str, Any] = {"a.b": "x y", "paid": True, "none": None, "n": 1.5}
    assert parameters({"status": "failed", "ended_after": after, "metadata": metadata}) == {
        "status": "failed",
        "ended_after": "2030-01-01T00:00:00+00:00",
        "metadata.a.b": "x y",
        "metadata.paid": "true",
        "metadata.none": "null",
        "metadata.n": "1.5",
    }
    assert parameters({"paused": False, "http_status": 503}) == {
        "paused": "false",
        "http_status": "503",
    }


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", "/x/a/y"),
        ("a/b c?#%", "/x/a%2Fb%20c%3F%23%25/y"),
        ("{}", "/x/%7B%7D/y"),
        ("..", "/x/%2E%2E/y"),
        ("..a", "/x/..a/y"),
        ("é", "/x/%C3%A9/y"),
    ],
)
def test_names_keep_to_their_part_of_a_path(name: str, path: str) -> None:
    assert at("/x/{}/y", name) == path


def test_lines_come_in_blocks_of_whole_lines_as_they_are_needed() -> None:
    made = 0

    def values() -> Any:
        nonlocal made
        for number in range(5_000):
            made += 1
            yield {"callback_url": "https://example.com/hook", "delay": number}

    blocks = lines_of(values())
    first = next(blocks)
    assert made < 5_000
    assert BLOCK_BYTES <= len(first) < BLOCK_BYTES + 100
    whole = first + b"".join(blocks)
    assert [json.loads(line)["delay"] for line in whole.splitlines()] == list(range(5_000))
