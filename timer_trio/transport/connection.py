"""One connection: a request out, its answer in."""

from __future__ import annotations

import trio

from timer_trio.transport.answer import AnswerReader
from timer_trio.transport.errors import ReceiveError, SendError, ShortageError, TransportError
from timer_trio.transport.shortage import NO_MEMORY
from timer_trio.transport.streams import ByteStream
from timer_trio.transport.wording import loss


class Connection:
    """Carries one request at a time. `peer` is the address at its other end.

    `used_at`: when it opened or its last answer was complete, on trio's clock.
    """

    def __init__(self, stream: ByteStream, peer: str) -> None:
        self._stream = stream
        self.peer = peer
        self.used_at = trio.current_time()

    async def exchange(self, request: bytes, answer: AnswerReader) -> bool:
        """Send a request, receive until the answer is complete, and say if another one may follow.

        No other task runs before the first byte of the request has been handed to the system.

        Raises:
            ShortageError: nothing was sent.
            SendError: the connection broke before the system had taken the last byte.
            ReceiveError: it broke or ended later; the answer may have begun.
            ProtocolError: what came is no HTTP.
        """
        failure: TransportError | None = None
        try:
            await self._stream.send_all(request)
        except OSError as error:  # ssl.SSLError is one
            # A receiver that refuses a large request may have answered before it closed.
            failure = SendError(loss(error, self.peer))
        except MemoryError:
            raise ShortageError(f"{NO_MEMORY} to write to {self.peer}") from None
        while not answer.is_complete:
            data = await self._receive(failure)
            if data:
                answer.feed(data)
            elif not answer.feed_end():
                raise failure or self._ended(answer)
        self.used_at = trio.current_time()
        return answer.is_reusable and failure is None

    def is_quiet(self) -> bool:
        return self._stream.is_quiet()

    def close(self) -> None:
        self._stream.close()

    async def _receive(self, failure: TransportError | None) -> bytes:
        try:
            return await self._stream.receive_some()
        except OSError as error:
            raise failure or ReceiveError(loss(error, self.peer)) from None

    def _ended(self, answer: AnswerReader) -> TransportError:
        when = "in the middle of its answer" if answer.has_begun else "before an answer"
        return ReceiveError(f"connection closed by {self.peer} {when}")
