"""Values that are encrypted where they are kept, and that nobody has opened.

A text begins with MARK, which no JSON does. Headers are one member, HEADERS, whose name no header
can have; of a receiver's answer they are one such pair, and its body is sealed along with them. So
what is sealed is a value like any other, that may be read, moved and written again; but it is
neither sent nor shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from timer_trio.domain.errors import SealedError

if TYPE_CHECKING:
    from timer_trio.domain.answer import KeptAnswer
    from timer_trio.domain.timer import ResultTarget, TimerSpec

MARK: Final = "fernet:"
HEADERS: Final = "encrypted:"


def is_sealed_text(text: str | None) -> bool:
    return text is not None and text.startswith(MARK)


def are_sealed(headers: Mapping[str, str]) -> bool:
    return HEADERS in headers


def is_sealed_answer(answer: KeptAnswer) -> bool:
    return bool(answer.headers) and answer.headers[0][0] == HEADERS


def is_sealed(spec: TimerSpec) -> bool:
    """Whether anything of a spec is sealed."""
    # Every claimed timer pays for this.
    callback = spec.callback
    payload = callback.payload
    return (
        HEADERS in callback.headers
        or (payload is not None and payload.startswith(MARK))
        or _is_sealed_target(spec.on_completed)
        or _is_sealed_target(spec.on_failed)
    )


def _is_sealed_target(target: ResultTarget | None) -> bool:
    return target is not None and HEADERS in target.headers


def require_open(spec: TimerSpec) -> None:
    """Return if nothing of a spec is sealed.

    Raises:
        SealedError: something is.
    """
    if is_sealed(spec):
        raise SealedError
