"""What is sealed of a timer, of a schedule and of an attempt, and how it is opened.

What no key opens stays sealed, and who needs it says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.errors import SealedError
from timer_trio.domain.keys import FirstAnswer
from timer_trio.domain.sealed import HEADERS, are_sealed, is_sealed, is_sealed_answer
from timer_trio.domain.timer import (
    CallbackSpec,
    JsonText,
    NewTimer,
    ResultTarget,
    SpecChange,
    TimerSpec,
)
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.columns import ENCODE, are_texts

Headers = Mapping[str, str]


def sealed_timer(timer: NewTimer, cipher: Cipher) -> NewTimer:
    return replace(timer, spec=sealed_spec(timer.spec, cipher))


def sealed_spec(spec: TimerSpec, cipher: Cipher) -> TimerSpec:
    """Return a spec as it is kept."""
    callback = spec.callback
    sealed = replace(
        callback,
        headers=sealed_headers(callback.headers, cipher),
        payload=_sealed_payload(callback.payload, cipher),
    )
    if not spec.has_results:
        return replace(spec, callback=sealed)
    return replace(
        spec,
        callback=sealed,
        on_completed=_sealed_target(spec.on_completed, cipher),
        on_failed=_sealed_target(spec.on_failed, cipher),
    )


def sealed_change(change: SpecChange, cipher: Cipher) -> SpecChange:
    """Return a change as it is kept."""
    if not cipher.seals:
        return change
    sealed = cast("SpecChange", {**change})
    if "callback_headers" in change:
        sealed["callback_headers"] = sealed_headers(change["callback_headers"], cipher)
    if "callback_payload" in change:
        sealed["callback_payload"] = _sealed_payload(change["callback_payload"], cipher)
    if "on_completed" in change:
        sealed["on_completed"] = _sealed_target(change["on_completed"], cipher)
    if "on_failed" in change:
        sealed["on_failed"] = _sealed_target(change["on_failed"], cipher)
    return sealed


def sealed_record(attempt: AttemptRecord, cipher: Cipher) -> AttemptRecord:
    answer = attempt.answer
    return attempt if answer is None else attempt._replace(answer=sealed_answer(answer, cipher))


def sealed_answer(answer: KeptAnswer, cipher: Cipher) -> KeptAnswer:
    if not cipher.seals or is_sealed_answer(answer):
        return answer
    return answer._replace(
        headers=((HEADERS, cipher.seal(ENCODE(answer.headers))),),
        body=cipher.seal_bytes(answer.body),
    )


def sealed_first(answer: FirstAnswer, cipher: Cipher) -> FirstAnswer:
    return replace(answer, data=JsonText(cipher.seal(answer.data)))


def sealed_headers(headers: Headers, cipher: Cipher) -> Headers:
    """Return headers as they are kept: none are no secret."""
    if not cipher.seals or not headers or are_sealed(headers):
        return headers
    return {HEADERS: cipher.seal(ENCODE(dict(headers)))}


def opened_spec(spec: TimerSpec, cipher: Cipher) -> TimerSpec:
    """Return a spec as it was asked for, as far as there are keys."""
    try:
        return open_spec(spec, cipher)
    except SealedError:
        return spec


def open_spec(spec: TimerSpec, cipher: Cipher) -> TimerSpec:
    """Return a spec as it was asked for.

    Raises:
        SealedError: a key is missing.
    """
    if not is_sealed(spec):
        return spec
    return replace(
        spec,
        callback=_open_callback(spec.callback, cipher),
        on_completed=_open_target(spec.on_completed, cipher),
        on_failed=_open_target(spec.on_failed, cipher),
    )


def opened_record(attempt: AttemptRecord, cipher: Cipher) -> AttemptRecord:
    """Return an attempt with its answer as it came, if there is a key for it."""
    answer = attempt.answer
    if answer is None or not is_sealed_answer(answer):
        return attempt
    try:
        return attempt._replace(answer=open_answer(answer, cipher))
    except SealedError:
        return attempt


def open_answer(answer: KeptAnswer, cipher: Cipher) -> KeptAnswer:
    """Return an answer as it came.

    Raises:
        SealedError: a key is missing.
    """
    if not is_sealed_answer(answer):
        return answer
    parsed = _parsed(cipher.open(answer.headers[0][1]))
    try:
        pairs = tuple((str(name), str(value)) for name, value in parsed)
    except (TypeError, ValueError):
        raise SealedError from None
    return answer._replace(headers=pairs, body=cipher.open_bytes(answer.body))


def opened_first(answer: FirstAnswer, cipher: Cipher) -> FirstAnswer:
    """Return what a key stands for as it was answered, if there is a key for it."""
    try:
        return replace(answer, data=JsonText(cipher.open(answer.data)))
    except SealedError:
        return answer


def open_headers(headers: Headers, cipher: Cipher) -> Headers:
    """Return headers as they are sent.

    Raises:
        SealedError: a key is missing.
    """
    if not are_sealed(headers):
        return headers
    opened = _parsed(cipher.open(headers[HEADERS]))
    if not isinstance(opened, dict) or not are_texts(opened):
        raise SealedError
    return opened


def _parsed(text: str) -> Any:
    # What is ours can be parsed; but somebody may have moved it from another column.
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise SealedError from None


def resealed_text(text: str, cipher: Cipher) -> str:
    """Return a text as it would be kept now: itself if it is.

    Raises:
        SealedError: a key is missing.
    """
    return text if cipher.is_current(text) else cipher.seal(cipher.open(text))


def resealed_headers(headers: Headers, cipher: Cipher) -> Headers:
    """Return headers as they would be kept now: themselves if they are; raises likewise."""
    if are_sealed(headers) and cipher.is_current(headers[HEADERS]):
        return headers
    return sealed_headers(open_headers(headers, cipher), cipher)


def resealed_answer(answer: KeptAnswer, cipher: Cipher) -> KeptAnswer:
    """Return an answer as it would be kept now: itself if it is; raises likewise."""
    if is_sealed_answer(answer) and cipher.is_current(answer.headers[0][1]):
        return answer
    return sealed_answer(open_answer(answer, cipher), cipher)


def _open_callback(callback: CallbackSpec, cipher: Cipher) -> CallbackSpec:
    payload = callback.payload
    return replace(
        callback,
        headers=open_headers(callback.headers, cipher),
        payload=None if payload is None else JsonText(cipher.open(payload)),
    )


def _open_target(target: ResultTarget | None, cipher: Cipher) -> ResultTarget | None:
    if target is None:
        return None
    return replace(target, headers=open_headers(target.headers, cipher))


def _sealed_target(target: ResultTarget | None, cipher: Cipher) -> ResultTarget | None:
    if target is None:
        return None
    return replace(target, headers=sealed_headers(target.headers, cipher))


def _sealed_payload(payload: JsonText | None, cipher: Cipher) -> JsonText | None:
    return None if payload is None else JsonText(cipher.seal(payload))
