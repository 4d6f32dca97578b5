"""The parts of the console that need no request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.api.errors import InvalidRequestError
from timer_trio.console.charts import HEIGHT, WIDTH, chart_of
from timer_trio.console.filters import asked_of, fields_of, filter_of, link
from timer_trio.console.forms import body_of, checked_json, instant, number, written
from timer_trio.console.rendering import places, render_part
from timer_trio.console.session import IDLE, LONGEST, Sealer, Session
from timer_trio.domain.api_key import KeyId
from timer_trio.domain.sample import NOTHING, Sample, Span
from timer_trio.domain.timer import Status

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SEALER = Sealer("k" * 32)


def session(key_id: str | None = "0" * 24, project: str | None = None) -> Session:
    known = None if key_id is None else KeyId(key_id)
    return Session(key_id=known, project=project, began_at=NOW, used_at=NOW, nonce="n")


@pytest.mark.parametrize("each", [session(), session(None), session(None, "shop")])
def test_session_is_read_as_it_was_sealed_and_under_its_key_alone(each: Session) -> None:
    cookie = SEALER.seal(each)
    assert SEALER.open(cookie) == each
    assert Sealer("x" * 32).open(cookie) is None


@given(st.text(max_size=60))
def test_what_nobody_sealed_is_no_session(cookie: str) -> None:
    assert SEALER.open(cookie) is None


@given(st.integers(0, 200), st.sampled_from("0aZ_-."))
def test_session_that_differs_in_a_character_is_none(place: int, character: str) -> None:
    cookie = SEALER.seal(session())
    place %= len(cookie)
    edited = cookie[:place] + character + cookie[place + 1 :]
    assert edited == cookie or SEALER.open(edited) is None


def test_token_proves_one_text_for_one_purpose() -> None:
    token = SEALER.token("a", "b")
    assert SEALER.bears("a", "b", token)
    assert not SEALER.bears("a", "c", token)
    assert not SEALER.bears("b", "b", token)
    assert not SEALER.bears("a:b", "", SEALER.token("a", "b:"))
    assert not SEALER.bears("a", "b", "ü")


def test_session_ends_idle_or_old() -> None:
    assert not session().has_ended(NOW + IDLE - timedelta(microseconds=1))
    assert session().has_ended(NOW + IDLE)
    used = session().used(NOW + LONGEST - timedelta(hours=1))
    assert not used.has_ended(NOW + LONGEST - timedelta(microseconds=1))
    assert used.has_ended(NOW + LONGEST)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2030-01-01T05:00", "2030-01-01T05:00:00Z"),
        ("2030-01-01T05:00:30", "2030-01-01T05:00:30Z"),
        ("2030-01-01T05:00:30.123", "2030-01-01T05:00:30.123Z"),
        ("2030-01-01T05:00:30Z", "2030-01-01T05:00:30Z"),
        ("2030-01-01T05:00:30+02:00", "2030-01-01T05:00:30+02:00"),
        ("soon", "soon"),
        ("5", "5"),
        ("", ""),
    ],
)
def test_instant_of_a_form_is_by_utc(text: str, meant: str) -> None:
    assert instant(text) == meant


def test_body_holds_json_as_it_was_written() -> None:
    big = "1e400"
    assert body_of({"a": checked_json(big, "a"), "ü": written("\u2028")}) == (
        b'{"a": 1e400, "\\u00fc": "\\u2028"}'
    )
    for wrong in ("", "true", '"1"', "x", "[" * 9999):
        with pytest.raises(InvalidRequestError):
            number(wrong, "n")
    with pytest.raises(InvalidRequestError):
        checked_json("[" * 99_999, "n")


def test_filters_of_a_page_are_those_of_the_api() -> None:
    given = {
        "status": "failed",
        "key": " ",
        "metadata": "a=b=c\n\n d = e \nf",
        "metadata.g": "h",
        "execute_after": "2030-01-01T05:00",
        "sort": "execute_at",
        "cursor": "x",
        "other": "y",
    }
    asked = asked_of(given)
    assert dict(asked) == {
        "status": "failed",
        "metadata.a": "b=c",
        "metadata.d": "e",
        "metadata.f": "",
        "metadata.g": "h",
        "execute_after": "2030-01-01T05:00:00Z",
        "sort": "execute_at",
        "cursor": "x",
        "other": "y",
    }
    assert filter_of(asked).keys() == dict(asked).keys() - {"sort", "cursor"}
    fields = fields_of(given)
    assert fields["metadata"] == "a=b=c\n\n d = e \nf\ng=h"
    assert (
        fields_of({"execute_after": "2030-01-01T05:00:00Z"})["execute_after"]
        == "2030-01-01T05:00:00"
    )
    assert link("/p", given, cursor="") == link(
        "/p", {k: v for k, v in given.items() if k != "cursor"}
    )
    assert link("/p", {}) == "/p"


COUNTS = st.dictionaries(st.sampled_from([*Status]), st.integers(1, 10_000))
LATE = st.none() | st.tuples(st.floats(-1, 1e6), st.floats(-1, 1e6))


@given(st.lists(st.builds(Sample, counts=COUNTS, late_s=LATE), min_size=1, max_size=30))
def test_bars_stay_within_their_chart(samples: list[Sample]) -> None:
    spans = [Span(NOW, NOW, 200)] * len(samples)
    chart = chart_of(spans, samples)
    for bar in (*chart.outcomes, *chart.lateness):
        assert bar.x >= 0
        assert bar.width > 0
        assert bar.height > 0
        assert bar.x + bar.width <= WIDTH
        assert 0 <= bar.y <= HEIGHT
    assert len(chart.outcomes) == sum(
        count > 0 for bucket in chart.buckets for count in bucket.counts.values()
    )


def test_higher_bar_is_more() -> None:
    spans = [Span(NOW, NOW, 200)] * 3
    found = [Sample(counts={Status.FAILED: n}, late_s=(n, n * 10)) for n in (1, 5)]
    chart = chart_of(spans, [*found, NOTHING])
    low, high = chart.outcomes
    assert high.height == HEIGHT == 5 * low.height
    assert [bar.kind for bar in chart.lateness] == ["p99", "p50"] * 2
    heights = [bar.height for bar in chart.lateness]
    assert heights[0] > heights[1]
    assert heights[2] > heights[0]
    assert chart.most == 5


def test_block_of_a_template_is_rendered_alone() -> None:
    values = {"arrived": [], "may_write": False, **places("")}
    timer = {"id": "x", "status": "pending", "execute_at": NOW.isoformat(), "last_error": None}
    html = render_part("trial.html", "live", {**values, "timer": timer})
    assert "Nothing has arrived yet" in html
    assert "<html" not in html
