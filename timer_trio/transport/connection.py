"""One connection: a request out, its answer in, and the next."""

from __future__ import annotations

from typing import Final

import trio

from timer_trio.transport.answer import AnswerReader
from timer_trio.transport.errors import ReceiveError, SendError, ShortageError, TransportError
from timer_trio.transport.readiness import Readiness
from timer_trio.transport.request import Answer
from timer_trio.transport.shortage import NO_MEMORY, lacking
from timer_trio.transport.streams import ByteStream
from timer_trio.transport.wording import loss

_REFUSES: Final = 300
"""From this status on an answer does not want the rest of its request."""


class Connection:
    """Carries one request at a time: `begin` sends it, `finish` waits until it is answered.

    What comes is read as soon as `readiness` sees it, whoever runs then. `peer` is the address at
    the other end. `used_at`: when it opened or its last answer was complete, on trio's clock.
    `is_open` turns false where the other side closes, or says something unasked, and once no other
    request can follow.
    """

    def __init__(
        self, stream: ByteStream, peer: str, readiness: Readiness, reader: AnswerReader
    ) -> None:
        """Have the stream watched.

        Raises:
            ShortageError: this machine lacks what that takes; the stream is closed.
        """
        self._stream = stream
        self._readiness = readiness
        self._reader = reader
        self._is_asked = False
        self._failure: TransportError | None = None
        self._error: Exception | None = None
        self._waiting: trio.lowlevel.Task | None = None
        self._sending: trio.CancelScope | None = None
        self.peer = peer
        self.used_at = trio.current_time()
        self.is_open = True
        self._is_closed = False
        try:
            readiness.register(stream.socket, self._read)
        except OSError as error:
            stream.close()
            reader.close()
            raise ShortageError(f"{lacking(error) or error} to wait for {peer}") from None

    @property
    def has_answer_begun(self) -> bool:
        """Whether anything has come since the last request."""
        return self._reader.has_begun

    def begin(self, request: bytes) -> None:
        """Hand a request to the system before anything else runs.

        What goes wrong is told by `finish`, but for a ShortageError: then nothing was sent.
        """
        try:
            self._stream.send(request)
        except OSError as error:  # ssl.SSLError is one
            if lack := lacking(error):
                raise ShortageError(f"{lack} to write to {self.peer}") from None
            # A receiver that refuses a large request may have answered before it closed.
            self._failure = SendError(loss(error, self.peer))
        except MemoryError:
            raise ShortageError(f"{NO_MEMORY} to write to {self.peer}") from None
        self._is_asked = True
        self._readiness.expected += 1
        # Of what a handshake has read already, no event will tell.
        if self._failure is not None or not self._stream.is_drained:
            self._read(is_gone=self._failure is not None)

    async def finish(self) -> Answer:
        """Wait until the request is out and its answer complete, and return it.

        The rest of a request is not sent if no answer can come any more, or if it has come and
        refuses the request, or the other side has gone since.

        Raises:
            SendError: the connection broke before the system had taken the last byte.
            ReceiveError: it broke or ended later; the answer may have begun.
            ProtocolError: what came is no HTTP.

        Cancellation: closes the connection.
        """
        reader, stream = self._reader, self._stream
        is_reusable = False
        try:
            if stream.has_unsent and self._failure is None:
                await self._send_rest()
            while not reader.is_complete and self._error is None:
                self._waiting = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
            if self._error is not None:
                raise self._error
            is_out = self._failure is None and not stream.has_unsent
            is_reusable = is_out and self.is_open and reader.is_reusable
            return reader.take()
        finally:
            self._is_asked = False
            self._error = self._failure = None  # their tracebacks hold this connection
            self._readiness.expected -= 1
            if is_reusable:
                self.used_at = trio.current_time()
            else:
                self.close()

    def close(self) -> None:
        """Close it; again does nothing."""
        self.is_open = False
        if not self._is_closed:
            self._is_closed = True
            self._readiness.unregister(self._stream.socket)
            self._stream.close()
            self._reader.close()

    async def _send_rest(self) -> None:
        if not self._is_futile():
            await self._flush()
        if self._stream.has_unsent and isinstance(self._error, ReceiveError):
            self._error = self._failure or SendError(str(self._error))
        if self._failure is not None:
            self._read(is_gone=True)

    async def _flush(self) -> None:
        try:
            with trio.CancelScope() as self._sending:
                await self._stream.flush()
        except OSError as error:
            self._failure = SendError(loss(error, self.peer))
        finally:
            self._sending = None

    def _is_futile(self) -> bool:
        """Whether it leads to nothing to send the rest of the request."""
        reader = self._reader
        is_refused = reader.is_complete and (reader.status >= _REFUSES or not self.is_open)
        return is_refused or self._error is not None

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._readiness.look()  # what has come in time may wait for the alarm
        if self._waiting is None:
            return trio.lowlevel.Abort.FAILED
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _read(self, is_gone: bool) -> None:  # noqa: FBT001 - as whoever calls it has it
        """Read what has come; wake whoever waits, once that is all or cannot go on."""
        reader = self._reader
        if not self._is_asked or reader.is_complete or self._error is not None:
            # It is gone, or says what would be taken for the next answer.
            self._give_up()
            return
        try:
            self._read_into(reader)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            self._error = error
        if reader.is_complete:
            self.is_open = self._stream.is_drained and not is_gone
        elif self._error is None:
            return
        self._wake()

    def _give_up(self) -> None:
        if self._sending is None:
            self.close()
        else:  # whoever sends waits for the socket, and closes it
            self.is_open = False
            self._sending.cancel()

    def _wake(self) -> None:
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting)
            self._waiting = None
        elif self._sending is not None and self._is_futile():
            self._sending.cancel()

    def _read_into(self, reader: AnswerReader) -> None:
        while not reader.is_complete:
            data = self._receive()
            if data is None:
                if self._failure is not None:
                    raise self._failure
                return
            if data:
                reader.feed(data)
            elif not reader.feed_end():
                raise self._failure or self._ended()

    def _receive(self) -> bytes | None:
        try:
            return self._stream.receive()
        except OSError as error:
            raise self._failure or ReceiveError(loss(error, self.peer)) from None

    def _ended(self) -> TransportError:
        when = "in the middle of its answer" if self.has_answer_begun else "before an answer"
        return ReceiveError(f"connection closed by {self.peer} {when}")
