from __future__ import annotations

from typing import Any

import pytest
import trio.testing
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from timer_trio.api.body.whole import WholeBody


class Sender:
    """Sends parts of a body, each when it is asked for."""

    def __init__(self, body: WholeBody, *parts: bytes, leaves: bool = False) -> None:
        self._parts = list(parts)
        self._leaves = leaves
        body.receive = self._send

    @property
    def left(self) -> int:
        return len(self._parts)

    async def _send(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self._parts:
            part, more = self._parts.pop(0), bool(self._parts) or self._leaves
            return {"type": "http.request", "body": part, "more_body": more}
        assert self._leaves
        return {"type": "http.disconnect"}


@pytest.mark.parametrize("parts", [[b"abc"], [b"a", b"", b"bc"], [b"", b"abc", b""]])
@pytest.mark.parametrize("expected", [3, None])
async def test_body_is_received_as_it_is_awaited(parts: list[bytes], expected: int | None) -> None:
    body = WholeBody(expected, 3)
    sender = Sender(body, *parts)
    assert await body == b"abc"
    assert await body == b"abc"
    assert (sender.left, body.has_ended) == (0, True)


@pytest.mark.parametrize(("expected", "left"), [(4, 2), (None, 1)])
async def test_body_that_is_too_large_is_read_no_further(expected: int | None, left: int) -> None:
    body = WholeBody(expected, 3)
    sender = Sender(body, b"abcd", b"e")
    with pytest.raises(RequestEntityTooLarge):
        await body
    assert (sender.left, body.has_ended) == (left, False)
    await body.drop(100)
    assert (sender.left, body.has_ended) == (0, True)


async def test_no_more_than_that_is_dropped() -> None:
    body = WholeBody(None, 10)
    sender = Sender(body, *[b"12345"] * 9)
    await body.drop(20)
    assert (sender.left, body.has_ended) == (2, False)


async def test_body_of_a_client_that_leaves_does_not_arrive() -> None:
    body = WholeBody(None, 3)
    Sender(body, b"a", leaves=True)
    with pytest.raises(RequestTimeout):
        await body
    assert body.has_ended


async def test_client_may_leave_while_its_body_is_dropped() -> None:
    body = WholeBody(None, 3)
    Sender(body, b"a", leaves=True)
    await body.drop(100)
    assert body.has_ended
