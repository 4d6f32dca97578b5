from __future__ import annotations

from pathlib import Path

import pytest

from timer_trio.storage.migrations.steps import (
    IndexChange,
    Migration,
    commands_of,
    index_change,
    load_migrations,
)


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


UP = "CREATE INDEX CONCURRENTLY notes_n ON notes (n)"
DOWN = "DROP INDEX CONCURRENTLY notes_n"


@pytest.mark.parametrize(
    ("up", "is_concurrent"),
    [
        (f"-- concurrently\n{UP}", True),
        (f"-- concurrently: nobody waits for it\n{UP}", True),
        (f"-- A table.\n-- concurrently\n{UP}", False),
        (f"-- concurrentlyx\n{UP}", False),
        ("-- after 0.3.0\nDROP TABLE notes", False),
        ("CREATE TABLE notes ()", False),
    ],
)
def test_first_line_of_a_step_tells_whether_it_is_concurrent(
    up: str, *, is_concurrent: bool
) -> None:
    step = Migration(1, "notes", up, "")
    assert step.is_concurrent == is_concurrent
    assert step.oldest_release is None or not step.is_concurrent


@pytest.mark.parametrize(
    "text",
    [
        f"-- concurrently\n{UP};\n",
        f"-- concurrently\n\n-- Why; and how.\n{UP}\n",
        "CREATE UNIQUE INDEX CONCURRENTLY notes_n\n    ON notes USING btree (n)\n    WHERE n > 0;",
    ],
)
def test_concurrent_step_may_build_one_index(text: str) -> None:
    change = index_change(text)
    assert (change.index, change.is_made) == ("notes_n", True)
    assert change.sql.startswith("CREATE")
    assert ";" not in change.sql


def test_concurrent_step_may_drop_one_index() -> None:
    assert index_change(f"{DOWN};\n") == IndexChange("notes_n", is_made=False, sql=DOWN)


BAD_CHANGES = [
    "",
    "-- concurrently",
    "CREATE INDEX notes_n ON notes (n)",
    "CREATE INDEX CONCURRENTLY ON notes (n)",
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS notes_n ON notes (n)",
    f"{UP}; {UP}",
    f"{UP}; ANALYZE notes",
    "DROP INDEX notes_n",
    "DROP INDEX CONCURRENTLY IF EXISTS notes_n",
    "DROP INDEX CONCURRENTLY notes_n, notes_m",
    "ANALYZE notes",
]


@pytest.mark.parametrize("text", BAD_CHANGES)
def test_concurrent_step_may_do_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="a concurrent step is one CREATE"):
        index_change(text)


@pytest.mark.parametrize(("up", "down"), [(UP, "SELECT 1"), ("SELECT 1", DOWN)])
def test_concurrent_step_that_does_more_is_refused_as_it_is_read(
    tmp_path: Path, up: str, down: str
) -> None:
    tmp_path.joinpath("0001_notes.up.sql").write_text(f"-- concurrently\n{up}", "utf-8")
    tmp_path.joinpath("0001_notes.down.sql").write_text(down, "utf-8")
    with pytest.raises(ValueError, match="a concurrent step is one CREATE"):
        load_migrations(tmp_path)


def test_each_concurrent_step_takes_back_what_it_does() -> None:
    for step in load_migrations():
        if step.is_concurrent:
            up, down = index_change(step.up), index_change(step.down)
            assert (up.index, up.is_made) == (down.index, not down.is_made)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;\n", ["SELECT 1", "SELECT 2"]),
        ("-- One; and why.\nSELECT 1; -- two; three\n;\nSELECT\n2", ["SELECT 1", "SELECT\n2"]),
        ("SELECT ';''--;', \";--\"; SELECT 2", ["SELECT ';''--;', \";--\"", "SELECT 2"]),
        ("DO $$ BEGIN; END $$; DO $x$ $$; $x$", ["DO $$ BEGIN; END $$", "DO $x$ $$; $x$"]),
        ("SELECT 3 - 2 -1, $1; SELECT 2 --", ["SELECT 3 - 2 -1, $1", "SELECT 2"]),
        ("-- nothing", []),
    ],
)
def test_a_step_is_divided_into_its_commands(text: str, commands: list[str]) -> None:
    assert list(commands_of(text)) == commands
