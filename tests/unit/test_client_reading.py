from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from timer_trio.client import UnexpectedAnswerError
from timer_trio.client.reading import members, record


@dataclass(frozen=True, kw_only=True)
class Inner:
    at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    share: float
    flag: bool
    kind: Literal["a", "b"]
    inner: Inner | None
    many: tuple[Inner, ...]
    pairs: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    anything: Any
    later: int | None = None


GOOD: dict[str, Any] = {
    "name": "x",
    "share": 1,
    "flag": False,
    "kind": "a",
    "inner": {"at": "2030-01-01T00:00:00.000005Z"},
    "many": [{"at": None}],
    "pairs": [["A", "1"], ["A", "2"]],
    "headers": {"A": "1"},
    "anything": [1, None],
}
NOON = datetime(2030, 1, 1, 0, 0, 0, 5, tzinfo=UTC)
READ = record(Outer)


def test_object_becomes_its_dataclass() -> None:
    assert READ(GOOD) == Outer(
        name="x",
        share=1,
        flag=False,
        kind="a",
        inner=Inner(at=NOON),
        many=(Inner(at=None),),
        pairs=(("A", "1"), ("A", "2")),
        headers={"A": "1"},
        anything=[1, None],
    )


def test_what_a_newer_service_tells_does_no_harm() -> None:
    newer = READ({**GOOD, "kind": "c", "newer": 1, "inner": {"at": None, "newer": 1}})
    assert (newer.kind, newer.inner) == ("c", Inner(at=None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 1}, "name: str should stand here"),
        ({"name": None}, "name: str should stand here"),
        ({"share": "1"}, "share: float should stand here"),
        ({"share": True}, "share: float should stand here"),
        ({"flag": 1}, "flag: bool should stand here"),
        ({"later": True}, "later: int should stand here"),
        ({"inner": []}, "inner: dict should stand here"),
        ({"inner": {}}, "inner: it lacks at"),
        ({"inner": {"at": "soon"}}, "inner: at: Invalid isoformat"),
        ({"many": {}}, "many: list should stand here"),
        ({"pairs": [["A"]]}, "pairs: 2 values should stand here"),
        ({"headers": []}, "headers: dict should stand here"),
    ],
)
def test_what_stands_in_the_wrong_place_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnexpectedAnswerError, match=words):
        READ({**GOOD, **change})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UnexpectedAnswerError, match="it lacks flag, name"):
        READ({name: value for name, value in GOOD.items() if name not in {"name", "flag"}})
    with pytest.raises(UnexpectedAnswerError, match="dict should stand here"):
        READ(None)
    with pytest.raises(UnexpectedAnswerError, match="list should stand here"):
        members("inner", Inner)({})
