from __future__ import annotations

from timer_trio.storage.postgres.queries import QUERIES


def test_a_settle_of_plain_timers_writes_their_rows_alone() -> None:
    for name in ("settle", "settle_unlocked"):
        assert QUERIES[name].count(b"INSERT INTO") == 0
        assert QUERIES[name.replace("settle", "settle_whole")].count(b"INSERT INTO") == 2


def test_a_whole_settle_is_the_plain_one_with_failures_and_what_stands_beside() -> None:
    for form in ("", "_unlocked"):
        plain, whole = QUERIES[f"settle{form}"], QUERIES[f"settle_whole{form}"]
        assert b"failures" not in plain
        assert b"failures = coalesce" in whole


def test_only_forms_that_skip_locked_rows_say_so() -> None:
    skipping = {name for name, text in QUERIES.items() if b"FOR NO KEY UPDATE OF t SKIP" in text}
    assert skipping >= {"claim_unlocked", "settle_unlocked", "settle_whole_unlocked"}
    assert not skipping & {"claim", "settle", "settle_whole"}


def test_what_writes_counted_timers_says_so_and_nothing_else_does() -> None:
    twins = {name for name in QUERIES if name.endswith("_counted") and name != "mark_counted"}
    assert len(twins) == 6
    for name in twins:
        plain, counted = QUERIES[name.removesuffix("_counted")], QUERIES[name]
        assert b"is_counted" not in plain
        assert counted.count(b"is_counted") == 1
    assert not [name for name, text in QUERIES.items() if b"{counted" in text]
