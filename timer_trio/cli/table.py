"""Rows of text: for people in columns, for programs with a tab between the cells."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

Rows = Sequence[Sequence[str]]


def aligned(rows: Rows, numbers: Container[int] = ()) -> Iterator[list[str]]:
    """Yield the cells of each row as wide as their columns; `numbers` are read from the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield [
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]


def in_columns(cells: Sequence[str]) -> str:
    return "  ".join(cells).rstrip()


def tab_separated(cells: Sequence[str]) -> str:
    return "\t".join(cells)
