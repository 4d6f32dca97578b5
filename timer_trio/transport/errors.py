"""Why there was no answer. The text of each is a sentence for `last_error`."""

from __future__ import annotations


class TransportError(Exception):
    """There was no answer."""


class RequestError(TransportError):
    """What is asked for makes no request."""


class WithheldError(TransportError):
    """Nothing was sent, since its permit said no."""


class ShortageError(TransportError):
    """Nothing was sent, since this machine lacks something of its own."""


class ConnectError(TransportError):
    """No connection could be opened."""


class SendError(TransportError):
    """The connection broke before the system had taken the last byte."""


class ReceiveError(TransportError):
    """The connection broke or ended later; an answer may have begun."""


class ProtocolError(TransportError):
    """What came is no HTTP."""
