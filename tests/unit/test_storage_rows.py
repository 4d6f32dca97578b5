from __future__ import annotations

import json

import pytest
import trio

from timer_trio.storage.postgres.rows import ROW_CHARACTERS, SLICE_CHARACTERS, written


@pytest.mark.parametrize(
    ("rows", "characters"), [(500, 400), (50, 5_000), (20, 100_000)], ids=["many", "some", "long"]
)
async def test_others_have_their_turn_while_rows_are_written_down(
    rows: int, characters: int
) -> None:
    texts: list[str] = []
    in_a_row: list[int] = [0]

    def write(text: str) -> str:
        in_a_row[-1] += len(text) + ROW_CHARACTERS
        return json.dumps(text)

    async def have_turns() -> None:
        while True:
            in_a_row.append(0)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(have_turns)
        texts = await written(["x" * characters] * rows, write)
        nursery.cancel_scope.cancel()
    assert [json.loads(text) for text in texts] == ["x" * characters] * rows
    # The one may come last in a round of turns and first in the next.
    assert max(in_a_row) < 2 * (SLICE_CHARACTERS + characters + ROW_CHARACTERS)
