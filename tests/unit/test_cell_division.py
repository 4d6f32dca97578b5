"""What is known of a division without asking a database."""

from __future__ import annotations

import pytest

from timer_trio.domain.cells import Cell
from timer_trio.storage.migrations.divisible import partition_count
from timer_trio.storage.migrations.division import DETACHED, shards_of


@pytest.mark.parametrize(
    ("moved", "count"),
    [
        (Cell(128, 255), 2),
        (Cell(192, 255), 4),
        (Cell(64, 127), 4),
        (Cell(96, 255), 8),
        (Cell(252, 255), 64),
        (Cell(254, 255), None),
        (Cell(101, 255), None),
        (Cell(100, 254), None),
    ],
)
def test_partitions_are_as_few_as_have_the_moved_shards_for_themselves(
    moved: Cell, count: int | None
) -> None:
    assert partition_count(moved) == count


def test_what_has_left_says_which_shards_it_has() -> None:
    assert shards_of(f"{DETACHED}064_127") == Cell(64, 127)
