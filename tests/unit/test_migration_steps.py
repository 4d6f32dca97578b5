from __future__ import annotations

import pytest

from timer_trio.storage.migrations.steps import Migration


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
