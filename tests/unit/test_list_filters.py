"""Each filter of a list is known wherever one has to be."""

from __future__ import annotations

from dataclasses import fields

from timer_trio.api.query import parse_query
from timer_trio.api.routes.list_parameters import LIST_PARAMETERS
from timer_trio.cli.timer_filters import filter_options
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.query import TimerFilter
from timer_trio.storage.memory.matching import TESTS
from timer_trio.storage.postgres.listing import CONDITIONS

# Whose timers they are is not for their consumers to say.
FILTERS = [field.name for field in fields(TimerFilter) if field.name != "project"]
EXAMPLES = {
    "status": "failed",
    "destination": "https://example.com",
    "last_error": "timed out",
    "http_status": "503",
    "metadata": "x",
    "schedule_id": "01900000-0000-7000-8000-000000000007",
}
INSTANT = "2030-01-01T00:00:00Z"


@filter_options
def command(**_: object) -> None:
    """A command with all of them."""


def test_the_command_line_has_an_option_for_each_filter() -> None:
    options = {option.name for option in command.__click_params__}  # type: ignore[attr-defined]  # click's
    assert options == set(FILTERS)


def test_both_storages_know_each_filter() -> None:
    assert list(TESTS) == FILTERS
    assert [*CONDITIONS, "metadata"] == FILTERS


def test_the_api_reads_and_documents_each_filter() -> None:
    documented = {parameter["name"] for parameter in LIST_PARAMETERS}
    for name in FILTERS:
        parameter = f"{name}.x" if name == "metadata" else name
        pairs = {"created_after": INSTANT, parameter: EXAMPLES.get(name, INSTANT)}
        raw = "&".join(f"{key}={value}" for key, value in pairs.items())
        assert getattr(parse_query(raw.encode(), b"", DEFAULT_PROJECT), name)
        assert name in documented
