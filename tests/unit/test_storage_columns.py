from __future__ import annotations

from dataclasses import fields

from timer_trio.domain.timer import TimerSpec
from timer_trio.storage.columns import SPEC, with_columns


def test_every_field_of_a_spec_has_a_column() -> None:
    assert [column.name for column in SPEC] == [field.name for field in fields(TimerSpec)]


def test_statement_names_the_columns_of_a_spec() -> None:
    names = ", ".join(column.name for column in SPEC)
    assert with_columns("COPY timers (id, {spec})") == f"COPY timers (id, {names})"


def test_statement_reads_json_as_text() -> None:
    read = with_columns("SELECT {t.spec:text}, '{}'")
    assert "t.callback_headers::text, t.callback_payload, t.metadata::text" in read
    assert read.startswith("SELECT t.execute_at, ")
    assert read.endswith(", t.misfire_grace_s, '{}'")
