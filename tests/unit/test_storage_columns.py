from __future__ import annotations

from dataclasses import fields, replace

from tests.contract.timers import LATER, spec
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import CallbackSpec, ResultTarget, SpecChange, TimerSpec
from timer_trio.storage.columns import NULL, SPEC, changed, copy_of, with_columns


def test_every_field_of_a_spec_has_a_column() -> None:
    sent = {f"callback.{field.name}" for field in fields(CallbackSpec)}
    beside = {field.name for field in fields(TimerSpec)} - {"callback"}
    assert sorted(column.field for column in SPEC) == sorted(sent | beside)


def test_every_column_of_a_spec_can_be_changed() -> None:
    assert [column.name for column in SPEC] == list(SpecChange.__annotations__)


def test_change_replaces_what_it_names_and_nothing_else() -> None:
    before = spec(metadata={"a": 1})
    callback = replace(before.callback, url=read_url("http://example.org/"), timeout_s=1.0)
    after = changed(before, {"callback_url": callback.url, "timeout_s": 1.0, "execute_at": LATER})
    assert after == replace(before, callback=callback, execute_at=LATER)
    assert changed(before, {}) == before


def test_statement_names_the_columns_of_a_spec() -> None:
    names = ", ".join(column.name for column in SPEC)
    assert with_columns("COPY timers (id, {spec})") == f"COPY timers (id, {names})"


def test_statement_reads_json_as_text() -> None:
    read = with_columns("SELECT {t.spec:text}, '{}'")
    assert "t.callback_headers::text, t.callback_payload, t.metadata::text" in read
    assert read.startswith("SELECT t.execute_at, ")
    assert read.endswith(", t.on_completed::text, t.on_failed::text, t.signing, '{}'")


def test_line_of_copy_has_the_columns_of_a_spec_in_their_order() -> None:
    places = {column.name: place for place, column in enumerate(SPEC)}
    target = ResultTarget(url=read_url("https://example.com/done"), headers={})
    values: SpecChange = {
        "execute_at": LATER,
        "metadata": {"a": 1},
        "timeout_s": 7.5,
        "misfire_grace_s": 8.5,
        "retry": RetryPolicy(),
        "store_response": StoreResponse.ALL,
        "on_completed": target,
        "on_failed": target,
        "signing": Signing.NONE,
    }
    usual = copy_of(spec()).split("\t")
    assert len(usual) == len(SPEC)
    assert usual[places["metadata"]] == usual[places["retry"]] == NULL
    for name in values:
        one: SpecChange = {name: values[name]}  # type: ignore[misc]
        written = copy_of(spec(**one)).split("\t")
        assert [place for place, text in enumerate(written) if text != usual[place]] == [
            places[name]
        ]
