"""One connection: a request out, its answer in."""

from __future__ import annotations

import trio

from timer_trio.transport.answer import AnswerReader
from timer_trio.transport.errors import ReceiveError, SendError, ShortageError, TransportError
from timer_trio.transport.readiness import Readiness
from timer_trio.transport.shortage import NO_MEMORY, lacking
from timer_trio.transport.streams import ByteStream
from timer_trio.transport.wording import loss


class Connection:
    """Carries one request at a time: `begin` sends it, `finish` waits until it is answered.

    What comes is read as soon as `readiness` sees it, whoever runs then. `peer` is the address at
    the other end. `used_at`: when it opened or its last answer was complete, on trio's clock.
    `is_open` turns false where the other side closes, or says something unasked.
    """

    def __init__(self, stream: ByteStream, peer: str, readiness: Readiness) -> None:
        """Have the stream watched.

        Raises:
            ShortageError: this machine lacks what that takes; the stream is closed.
        """
        self._stream = stream
        self._readiness = readiness
        self._answer: AnswerReader | None = None
        self._failure: TransportError | None = None
        self._error: Exception | None = None
        self._waiting: trio.lowlevel.Task | None = None
        self.peer = peer
        self.used_at = trio.current_time()
        self.is_open = True
        self._is_closed = False
        try:
            readiness.register(stream.socket, self._read)
        except OSError as error:
            stream.close()
            raise ShortageError(f"{lacking(error) or error} to wait for {peer}") from None

    def begin(self, request: bytes, answer: AnswerReader) -> None:
        """Hand a request to the system before anything else runs; its answer is read into `answer`.

        What goes wrong is told by `finish`, but for a ShortageError: then nothing was sent.
        """
        try:
            self._stream.send(request)
        except OSError as error:  # ssl.SSLError is one
            # A receiver that refuses a large request may have answered before it closed.
            self._failure = SendError(loss(error, self.peer))
        except MemoryError:
            raise ShortageError(f"{NO_MEMORY} to write to {self.peer}") from None
        self._answer = answer
        self._readiness.expected += 1
        if self._failure is not None:
            self._read(is_gone=True)

    async def finish(self, answer: AnswerReader) -> bool:
        """Wait until the request is out and its answer complete, and say if another one may follow.

        Raises:
            SendError: the connection broke before the system had taken the last byte.
            ReceiveError: it broke or ended later; the answer may have begun.
            ProtocolError: what came is no HTTP.

        Cancellation: the connection must be closed.
        """
        try:
            if self._stream.has_unsent and self._failure is None:
                await self._flush()
            while not answer.is_complete and self._error is None:
                self._waiting = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
        finally:
            self._answer = None
            self._readiness.expected -= 1
        if self._error is not None:
            raise self._error
        self.used_at = trio.current_time()
        return self.is_open and answer.is_reusable and self._failure is None

    def close(self) -> None:
        """Close it; again does nothing."""
        self.is_open = False
        if not self._is_closed:
            self._is_closed = True
            self._readiness.unregister(self._stream.socket)
            self._stream.close()

    async def _flush(self) -> None:
        try:
            await self._stream.flush()
        except OSError as error:
            self._failure = SendError(loss(error, self.peer))
            if isinstance(self._error, ReceiveError):
                self._error = self._failure
            self._read(is_gone=True)

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _read(self, is_gone: bool) -> None:  # noqa: FBT001 - as whoever calls it has it
        """Read what has come; wake whoever waits, once that is all or cannot go on."""
        answer = self._answer
        if answer is None or answer.is_complete:
            self.close()  # it is gone, or says what would be taken for the next answer
            return
        if self._error is not None:
            if not self._stream.has_unsent:  # else somebody waits for it to take more
                self.close()
            return
        try:
            self._read_into(answer)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            self._error = error
        if answer.is_complete:
            self.is_open = self._stream.is_drained and not is_gone
        elif self._error is None:
            return
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting)
            self._waiting = None

    def _read_into(self, answer: AnswerReader) -> None:
        while not answer.is_complete:
            data = self._receive()
            if data is None:
                return
            if data:
                answer.feed(data)
            elif not answer.feed_end():
                raise self._failure or self._ended(answer)

    def _receive(self) -> bytes | None:
        try:
            return self._stream.receive()
        except OSError as error:
            raise self._failure or ReceiveError(loss(error, self.peer)) from None

    def _ended(self, answer: AnswerReader) -> TransportError:
        when = "in the middle of its answer" if answer.has_begun else "before an answer"
        return ReceiveError(f"connection closed by {self.peer} {when}")
