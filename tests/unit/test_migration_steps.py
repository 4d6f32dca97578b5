from __future__ import annotations

import pytest

from timer_trio.storage.migrations.steps import Migration, is_older


@pytest.mark.parametrize(
    ("up", "oldest_release"),
    [
        ("-- after 0.3.0: nobody reads it any more\nDROP TABLE notes", "0.3.0"),
        ("-- after 10.20.30\nDROP TABLE notes", "10.20.30"),
        ("-- A table.\n-- after 0.3.0\nCREATE TABLE notes ()", None),
        ("-- after all\nCREATE TABLE notes ()", None),
        ("CREATE TABLE notes ()", None),
    ],
)
def test_first_line_of_a_step_names_the_oldest_release_that_can_live_with_it(
    up: str, oldest_release: str | None
) -> None:
    assert Migration(1, "notes", up, "").oldest_release == oldest_release


@pytest.mark.parametrize("version", ["", "unknown", "0.2.9", "0.3.0.dev0", "0.10", "0.9.9rc1"])
def test_version_is_older_than_a_later_release(version: str) -> None:
    assert is_older(version, "0.10.1")


@pytest.mark.parametrize("version", ["0.10.1", "0.10.1.dev0", "0.10.1rc1", "0.11.0", "1.0"])
def test_version_is_not_older_than_the_release_that_it_is_or_becomes(version: str) -> None:
    assert not is_older(version, "0.10.1")
