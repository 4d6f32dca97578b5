"""What the lines of an answer that takes long come to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from timer_trio.client import Bulk, Import, IncompleteError
from timer_trio.client.call import Run
from timer_trio.client.conversation import RunReader
from timer_trio.client.reading import record

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)
OPENING = {"as_of": "2030-01-01T00:00:00Z"}
PROGRESS = {"lines": 9, "imported": 7, "refused": 1, "through_line": 8}
ERRORS = [{"line": 17, "field": "callback_url", "message": "is required"}]


def ended(code: int, data: Any) -> dict[str, Any]:
    return {"code": code, "message": "words", "data": data}


def read_import(*lines: object, told: list[Import] | None = None) -> Import:
    on_progress = None if told is None else told.append
    reader = RunReader(
        Run(path="", media="", content=b"", read=record(Import), on_progress=on_progress)
    )
    for line in lines:
        reader.feed(line if isinstance(line, str) else json.dumps(line))
    return reader.result()


def read_bulk(*lines: object) -> Bulk:
    lasting = frozenset({"as_of"})
    reader = RunReader(Run(path="", media="", content=b"", read=record(Bulk), lasting=lasting))
    for line in lines:
        reader.feed(json.dumps(line))
    return reader.result()


def test_import_ends_with_what_its_last_line_says() -> None:
    told: list[Import] = []
    counts = {"lines": 20, "imported": 19, "refused": 1}
    result = read_import(PROGRESS, "", ended(0, {**counts, "errors": ERRORS}), told=told)
    assert told == [Import(lines=9, imported=7, refused=1, through_line=8)]
    assert (result.imported, result.through_line) == (19, None)
    assert [each.field for each in result.errors] == ["callback_url"]


def test_bulk_action_keeps_the_instant_that_it_began_with() -> None:
    counts = {"matched": 3, "done": 2, "skipped": 1}
    assert read_bulk(OPENING, ended(0, counts)) == Bulk(matched=3, done=2, skipped=1, as_of=BEGAN)


def test_import_that_is_cut_short_tells_what_to_send_again() -> None:
    unknown = {"first_line": 9, "last_line": 9, "id": "a"}
    last = ended(1, {**PROGRESS, "errors": ERRORS, "unknown": unknown})
    with pytest.raises(IncompleteError, match="words") as caught:
        read_import(PROGRESS, last)
    progress: Import = caught.value.progress
    assert progress.unknown is not None
    assert (progress.through_line, progress.unknown.id, len(progress.errors)) == (8, "a", 1)
    assert caught.value.may_have_happened


@pytest.mark.parametrize("lines", [(), (PROGRESS,), (PROGRESS, '{"code": 0, "mess')])
def test_answer_without_its_last_line_is_not_whole(lines: tuple[object, ...]) -> None:
    with pytest.raises(IncompleteError, match="before that was whole"):
        read_import(*lines)


def test_bulk_action_without_its_last_line_goes_on_from_its_instant() -> None:
    with pytest.raises(IncompleteError) as caught:
        read_bulk(OPENING, {**OPENING, "matched": 5, "done": 5, "skipped": 0})
    assert caught.value.progress == Bulk(matched=5, done=5, as_of=BEGAN)
