"""What consumers see of a timer and of its attempts: JSON, in answers as in results."""

from __future__ import annotations

import base64
import json
from codecs import getincrementaldecoder
from datetime import datetime
from uuid import UUID

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.errors import SealedError
from timer_trio.domain.masking import Sensitive, shown_headers, shown_pairs
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.sealed import is_sealed_answer, require_open
from timer_trio.domain.timer import ResultTarget, Timer, TimerSpec, rfc3339

Json = dict[str, object]


def timer_json(timer: Timer, sensitive: Sensitive) -> str:
    """Write a whole timer down, its payload as the text that arrived.

    Values of `sensitive` headers are masked.

    Raises:
        SealedError: something of it is encrypted, and the key is missing.
    """
    known = json.dumps(_timer_data(timer, sensitive), ensure_ascii=False)
    payload = timer.spec.callback.payload or "null"
    return f'{known[:-1]}, "callback_payload": {payload}}}'


def _timer_data(timer: Timer, sensitive: Sensitive) -> Json:
    """Return all of a timer but its payload."""
    return {
        "id": str(timer.id),
        "created_at": rfc3339(timer.created_at),
        "updated_at": rfc3339(timer.updated_at),
        "execute_at": rfc3339(timer.spec.execute_at),
        **wanted_data(timer.spec, sensitive),
        "status": timer.status,
        "executed_at": instant_or_none(timer.executed_at),
        "attempt": timer.attempt,
        "last_error": timer.last_error,
        "http_status": timer.http_status,
        "duration_ms": timer.duration_ms,
        "next_attempt_at": instant_or_none(timer.next_attempt_at),
        "key": timer.key,
        "parent_id": id_or_none(timer.parent_id),
        "schedule_id": id_or_none(timer.schedule_id),
        "flow_key": timer.flow_key,
    }


def wanted_data(spec: TimerSpec, sensitive: Sensitive) -> Json:
    """Return what was asked for, but when, and the payload; raises as `timer_json`."""
    require_open(spec)
    callback = spec.callback
    return {
        "callback_url": callback.url.text,
        "callback_method": callback.method,
        "callback_headers": shown_headers(callback.headers, sensitive),
        "metadata": None if spec.metadata is None else dict(spec.metadata),
        "timeout_seconds": callback.timeout_s,
        "delivery": callback.delivery,
        "misfire_grace_seconds": spec.misfire_grace_s,
        "retry": retry_data(spec.retry),
        "store_response": spec.store_response,
        "on_completed": target_data(spec.on_completed, sensitive),
        "on_failed": target_data(spec.on_failed, sensitive),
        "signing": spec.signing,
    }


def attempt_json(record: AttemptRecord, sensitive: Sensitive) -> str:
    """Write an attempt down; of an answer that no key opens it says so."""
    answer = record.answer
    data = {
        "attempt": record.attempt,
        "started_at": instant_or_none(record.started_at),
        "duration_ms": record.duration_ms,
        "outcome": record.outcome,
        "http_status": record.http_status,
        "error": record.error,
        "response": None if answer is None else _answer_data(answer, sensitive),
    }
    return json.dumps(data, ensure_ascii=False)


def retry_data(policy: RetryPolicy | None) -> Json | None:
    """Return a policy as it is answered: all members that have an effect, as one may send them."""
    if policy is None:
        return None
    data: Json = {"max_attempts": policy.max_attempts}
    if policy.delays:
        data["delays"] = list(policy.delays)
    else:
        data["initial_delay_seconds"] = policy.initial_delay_s
        data["factor"] = policy.factor
        data["max_delay_seconds"] = policy.max_delay_s
    data["jitter"] = policy.jitter
    data["give_up_after_seconds"] = policy.give_up_after_s
    return data


def target_data(target: ResultTarget | None, sensitive: Sensitive) -> Json | None:
    if target is None:
        return None
    return {"url": target.url.text, "headers": shown_headers(target.headers, sensitive)}


def instant_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)


def id_or_none(timer_id: UUID | None) -> str | None:
    return None if timer_id is None else str(timer_id)


def _answer_data(answer: KeptAnswer, sensitive: Sensitive) -> Json:
    if is_sealed_answer(answer):
        # One old answer must not hide the others.
        nothing = KeptAnswer(headers=(), body=b"", is_truncated=True)
        return {**_answer_data(nothing, sensitive), "unreadable": str(SealedError())}
    body, encoding = _readable(answer.body, is_cut=answer.is_truncated)
    return {
        "headers": shown_pairs(answer.headers, sensitive),
        "body": body,
        "body_encoding": encoding,
        "truncated": answer.is_truncated,
    }


def _readable(body: bytes, *, is_cut: bool) -> tuple[str, str]:
    """Return a body as text, and how it is encoded: as base64 where it is no UTF-8.

    Of one that is cut off amid a character that character is left out.
    """
    try:
        return getincrementaldecoder("utf-8")().decode(body, final=not is_cut), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii"), "base64"
