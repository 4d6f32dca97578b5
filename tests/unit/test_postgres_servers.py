"""Which servers a URL names, and which of them may be used: without asking any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pytest
from psycopg.conninfo import conninfo_to_dict

from timer_trio.storage.postgres.connections import bounded
from timer_trio.storage.postgres.fence import Fence, OldPrimaryError
from timer_trio.storage.postgres.servers import (
    History,
    Server,
    Verdict,
    judge,
    newest,
    ordered,
    servers_of,
)

FIRST, SECOND = History(7, 1), History(7, 2)
ANOTHER_CLUSTER: Final = History(8, 1)
A, B, C = Server("a", "host=a"), Server("b", "host=b"), Server("c", "host=c")


@dataclass(eq=False)
class FakeLine:
    server: str
    history: History | None
    cuts: list[bool] = field(default_factory=list)
    is_alive: bool = True

    def cut(self) -> None:
        self.cuts.append(True)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("postgresql://u@one:1,two:2/d", ["one:1", "two:2"]),
        ("postgresql://u@one,two/d", ["one:5432", "two:5432"]),
        ("host=one,two port=7 dbname=d", ["one:7", "two:7"]),
        ("host=one,two hostaddr=10.0.0.1,10.0.0.2", ["one:5432", "two:5432"]),
        ("hostaddr=10.0.0.1,10.0.0.2 port=1,2", ["10.0.0.1:1", "10.0.0.2:2"]),
        ("host=/run/a,/run/b", ["/run/a:5432", "/run/b:5432"]),
        ("postgresql://u@one/d", ["one:5432"]),
        ("dbname=d", ["localhost:5432"]),
        # libpq chooses, or complains.
        ("host=one,two target_session_attrs=any", ["one,two:5432"]),
        ("host=one,two port=1,2,3", ["one,two:1,2,3"]),
    ],
)
def test_servers_of_a_url(url: str, names: list[str]) -> None:
    assert [server.name for server in servers_of(bounded(url))] == names


def test_each_server_keeps_what_the_url_says_besides() -> None:
    url = "host=one,two hostaddr=10.0.0.1,10.0.0.2 port=1,2 password='a b' connect_timeout=9"
    _, second = servers_of(bounded(url))
    given = conninfo_to_dict(second.conninfo)
    assert (given["host"], given["hostaddr"], given["port"]) == ("two", "10.0.0.2", "2")
    assert (given["password"], given["connect_timeout"]) == ("a b", "9")
    assert given["target_session_attrs"] == "read-write"


@pytest.mark.parametrize(
    ("known", "told", "verdict"),
    [
        (None, FIRST, Verdict.NEWER),
        (FIRST, FIRST, Verdict.SAME),
        (FIRST, SECOND, Verdict.NEWER),
        (SECOND, FIRST, Verdict.OLDER),
        (SECOND, None, Verdict.SAME),
        (SECOND, ANOTHER_CLUSTER, Verdict.NEWER),
    ],
)
def test_judging_a_history(known: History | None, told: History | None, verdict: Verdict) -> None:
    assert judge(known, told) is verdict


def test_the_newest_is_of_the_cluster_that_is_named_first() -> None:
    assert newest({}) is None
    assert newest({"a": FIRST, "b": SECOND}) == "b"
    assert newest({"a": SECOND, "b": SECOND}) == "a"
    assert newest({"a": FIRST, "b": History(8, 9)}) == "a"


def test_unknown_servers_are_tried_last() -> None:
    assert ordered([A, B, C], ["c", "b"]) == [C, B, A]


def test_the_last_good_one_is_tried_first_and_who_failed_last_last() -> None:
    fence = Fence()
    assert fence.order([A, B, C]) == [A, B, C]
    fence.put_last("a")
    assert fence.order([A, B, C]) == [B, C, A]
    fence.admit(FakeLine("c", FIRST))
    assert fence.order([A, B, C]) == [C, B, A]


def test_a_newer_server_ends_all_connections_to_older_ones() -> None:
    fence = Fence()
    fence.order([A, B])
    older, silent = FakeLine("a", FIRST), FakeLine("a", None)
    for line in (older, silent):
        fence.admit(line)
    newer = FakeLine("b", SECOND)
    fence.admit(newer)
    assert (older.cuts, silent.cuts, newer.cuts) == ([True], [], [])
    fence.dismiss(silent)
    assert not fence.has_lines("a")
    assert fence.has_lines("b")


def test_an_older_server_is_refused_in_words_until_it_is_none_any_more() -> None:
    fence = Fence()
    fence.order([A, B])
    fence.learn("b", SECOND)
    with pytest.raises(OldPrimaryError, match="a is an old primary: its timeline is 1, and 2 has"):
        fence.admit(FakeLine("a", FIRST))
    assert not fence.has_lines()
    assert len(fence.strays) == 1
    fence.forget_stray("a")
    assert not fence.strays


def test_what_is_learned_beside_the_work_cuts_only_for_a_higher_timeline() -> None:
    fence = Fence()
    fence.order([A, B])
    line = FakeLine("a", FIRST)
    fence.admit(line)
    for told in (FIRST, ANOTHER_CLUSTER):
        fence.learn("b", told)
        assert not line.cuts
        assert fence.order([A, B]) == [A, B]
    fence.learn("b", SECOND)
    assert line.cuts
    assert fence.order([A, B]) == [B, A]
    fence.learn("a", FIRST)
    assert len(fence.strays) == 1


def test_all_are_asked_only_while_there_is_no_connection() -> None:
    fence = Fence()
    asked: list[bool] = []

    def ask() -> dict[str, History]:
        asked.append(True)
        return {"a": FIRST, "b": SECOND}

    fence.ask_first([A, B], ask)
    assert fence.order([A, B]) == [B, A]
    assert len(fence.strays) == 1
    line = FakeLine("b", SECOND)
    fence.admit(line)
    fence.ask_first([A, B], ask)
    assert len(asked) == 1
    line.is_alive = False
    fence.ask_first([A, B], ask)
    assert len(asked) == 2
