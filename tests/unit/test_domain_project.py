from __future__ import annotations

import pytest

from timer_trio.domain.project import (
    NO_SETTINGS,
    ProjectSettings,
    Scope,
    is_project_name,
    with_included,
)

READ, WRITE, ADMIN, METRICS = Scope.READ, Scope.WRITE, Scope.ADMIN, Scope.METRICS


@pytest.mark.parametrize(
    ("given", "all_of_them"),
    [
        ({READ}, {READ}),
        ({WRITE}, {READ, WRITE}),
        ({ADMIN}, {READ, WRITE, ADMIN}),
        ({METRICS}, {METRICS}),
        ({METRICS, WRITE}, {METRICS, READ, WRITE}),
        (set(), set()),
    ],
)
def test_scope_includes_what_is_less(given: set[Scope], all_of_them: set[Scope]) -> None:
    assert with_included(frozenset(given)) == all_of_them


def test_name_is_of_small_letters_digits_and_hyphens() -> None:
    assert all(map(is_project_name, ("a", "default", "a-1", "0", "-", "x" * 63)))
    for text in ("", "A", "a_b", "a b", "ä", "x" * 64, "a\n", "a/b", "a.b"):
        assert not is_project_name(text)


def test_hosts_are_allowed_by_name_or_below_one() -> None:
    some = ProjectSettings(allowed_hosts=("example.com", "*.example.org", "10.0.0.7"))
    for host in ("example.com", "a.example.org", "a.b.example.org", "10.0.0.7"):
        assert some.allows(host)
    for host in ("a.example.com", "example.org", "notexample.org", "xexample.com", "10.0.0.8"):
        assert not some.allows(host)
    assert NO_SETTINGS.allows("anywhere")
    assert not ProjectSettings(allowed_hosts=()).allows("anywhere")
