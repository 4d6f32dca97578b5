"""Texts that are encrypted at rest: sealed with the first of some keys, opened with any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from timer_trio.config import PLAIN
from timer_trio.domain.errors import SealedError
from timer_trio.domain.sealed import MARK
from timer_trio.storage.refusal import is_unstorable

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_MARK: Final = MARK.encode()


class Cipher:
    """Seals texts with the first key, and opens what any of them has sealed.

    Without keys, or where PLAIN stands first, it seals nothing: texts are written as they are. What
    is sealed already is not sealed again, so a text may pass through any number of times. Threads
    may share it; no repr shows a key.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._fernets = [*_fernets(key for key in keys if key != PLAIN)]
        self.seals = bool(keys) and keys[0] != PLAIN
        """Whether it changes what is written."""
        self.lacks_key = False
        """Whether it has met what none of its keys opens."""

    def plain(self) -> Cipher:
        """Return one that opens the same, and seals nothing."""
        other = Cipher()
        other._fernets = self._fernets
        return other

    def seal(self, text: str) -> str:
        """Return a text as it is to be kept; what no database stores is left for it to refuse."""
        if not self.seals or text.startswith(MARK) or is_unstorable(text):
            return text
        return MARK + self._token_of(text.encode()).decode("ascii")

    def seal_bytes(self, raw: bytes) -> bytes:
        """Return bytes as they are to be kept; whether they are sealed must stand elsewhere."""
        return _MARK + self._token_of(raw) if self.seals else raw

    def open(self, text: str) -> str:
        """Return a text as it was before it was sealed; one that is not sealed as it is.

        Raises:
            SealedError: no key opens it, or somebody has changed it.
        """
        if not text.startswith(MARK):
            return text
        opened = self.open_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            return opened.decode()
        except UnicodeDecodeError:  # it is no text that was sealed
            raise SealedError from None

    def open_bytes(self, sealed: bytes) -> bytes:
        """Return sealed bytes as they were before.

        Raises:
            SealedError: as `open`.
        """
        token = sealed.removeprefix(_MARK)
        for fernet in self._fernets:
            opened = _opened(fernet, token)
            if opened is not None:
                return opened
        self.lacks_key = True
        raise SealedError

    def is_current(self, text: str) -> bool:
        """Whether a text is kept as `seal` would keep it."""
        if not self.seals or not text.startswith(MARK):
            return text.startswith(MARK) == self.seals
        return _opened(self._fernets[0], text.removeprefix(MARK).encode()) is not None

    def _token_of(self, raw: bytes) -> bytes:
        return self._fernets[0].encrypt(raw)


def cipher_of(setting: SecretStr | None) -> Cipher:
    """Make what ENCRYPTION_KEYS asks for."""
    if setting is None:
        return Cipher()
    return Cipher([each.strip() for each in setting.get_secret_value().split(",")])


def _fernets(keys: Iterator[str]) -> Iterator[Fernet]:
    for key in keys:
        # It takes a fiftieth of a second and some MiB, of those who have no keys as well.
        from cryptography.fernet import Fernet  # noqa: PLC0415 - see above

        yield Fernet(key)


def _opened(fernet: Fernet, token: bytes) -> bytes | None:
    from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as above

    try:
        return fernet.decrypt(token)
    except InvalidToken:
        return None
