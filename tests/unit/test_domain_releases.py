from __future__ import annotations

import pytest

from timer_trio.domain.releases import is_older, listed


@pytest.mark.parametrize("version", ["", "unknown", "0.2.9", "0.3.0.dev0", "0.10", "0.9.9rc1"])
def test_version_is_older_than_a_later_release(version: str) -> None:
    assert is_older(version, "0.10.1")


@pytest.mark.parametrize("version", ["0.10.1", "0.10.1.dev0", "0.10.1rc1", "0.11.0", "1.0"])
def test_version_is_not_older_than_the_release_that_it_is_or_becomes(version: str) -> None:
    assert not is_older(version, "0.10.1")


def test_many_names_are_cut_to_three_and_counted() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
