from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import trio
import trustme

from tests import receivers
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import service
from tests.receivers import tls_contexts

OK_HEAD = b"HTTP/1.1 200 OK\r\n"
FAILING = {
    "NUL bytes": (receivers.answers_and_closes(b"\0" * 100), "answer is not HTTP"),
    "NUL in a header": (receivers.answers(OK_HEAD + b"X: a\0b\r\n\r\n"), "answer is not HTTP"),
    "10 MB of headers": (
        receivers.answers_and_closes(OK_HEAD + b"X-Filler: x\r\n" * 800_000 + b"\r\n"),
        "answer headers exceed 64 KiB",
    ),
    "one endless header": (receivers.never_ends(OK_HEAD + b"X: ", b"x" * 10_000), "exceed"),
    "another protocol": (receivers.answers_and_closes(b"SSH-2.0-x\r\n"), "answer is not HTTP"),
    "closes at once": (receivers.closes_at_once, "connection "),
    "resets at once": (receivers.resets_at_once, "connection reset by 127.0.0.1:"),
    "resets within the request": (receivers.resets_after_head, "connection reset by 127.0.0.1:"),
    "closes unanswered": (receivers.answers_and_closes(), "closed"),
    "resets unanswered": (receivers.answers_and_resets(), "connection reset by 127.0.0.1:"),
    "closes within the head": (receivers.answers_and_closes(OK_HEAD + b"Content-"), "closed"),
    "closes within the body": (
        receivers.answers_and_closes(OK_HEAD + b"Content-Length: 9\r\n\r\nhal"),
        "closed",
    ),
    "closes within a chunk": (
        receivers.answers_and_closes(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhal"),
        "closed",
    ),
    "redirects": (
        receivers.answers(b"HTTP/1.1 302 F\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
        "HTTP 302 from http://127.0.0.1:",
    ),
    "reason in broken UTF-8": (
        receivers.answers(b"HTTP/1.1 500 \xff\xc3\x28\r\nContent-Length: 0\r\n\r\n"),
        "HTTP 500 from http://127.0.0.1:",
    ),
    "trickles": (receivers.trickles(OK_HEAD * 9, 0.2), "timed out after 1s"),
    "never answers": (receivers.never_answers, "timed out after 1s"),
}
SUCCEEDING = {
    "good reason in broken UTF-8": receivers.answers(
        b"HTTP/1.1 200 \xff\xc3\x28\r\nContent-Length: 0\r\n\r\n"
    ),
    "endless body": receivers.endless_body(),
}


def distrusted(authority: trustme.CA) -> Mapping[str, tuple[ssl.SSLContext, str]]:
    """Make contexts of servers that a service which trusts the authority must refuse."""
    of_another, _ = tls_contexts(authority, "name.example")
    expired, _ = tls_contexts(authority, "127.0.0.1", expires=datetime(2020, 1, 1, tzinfo=UTC))
    return {
        "certificate for another name": (of_another, "IP address mismatch"),
        "expired certificate": (expired, "certificate has expired"),
        "self-signed certificate": (receivers.self_signed_context(), "self-signed certificate"),
    }


async def test_hostile_receiver_costs_its_own_timer_and_nothing_else(
    service_database: str, receiver: ReceiverProcess, tmp_path: Path
) -> None:
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    trusted, _ = tls_contexts(authority, "127.0.0.1")
    over_tls = distrusted(authority)
    words = {name: words for name, (_, words) in [*FAILING.items(), *over_tls.items()]}
    hostile = [
        *((name, how, None) for name, (how, _) in FAILING.items()),
        *((name, how, None) for name, how in SUCCEEDING.items()),
        *(
            (name, receivers.answers(receivers.OK), context)
            for name, (context, _) in over_tls.items()
        ),
        ("trusted certificate", receivers.answers(receivers.OK), trusted),
    ]
    async with (
        service(DATABASE_URL=service_database, CALLBACK_CA_FILE=str(ca_file)) as served,
        AsyncExitStack() as stack,
    ):
        due_at = trio.current_time() + 0.5
        timer_ids: dict[str, str] = {}
        for name, how, context in hostile:
            called = await stack.enter_async_context(receivers.receiver(how, ssl_context=context))
            timer_ids[name] = await served.consumer.create(
                delay=max(0.0, due_at - trio.current_time()),
                callback_url=called.url(),
                timeout_seconds=1,
            )
        healthy = await served.consumer.create_many(
            [trio.current_time() + 0.3 + i / 200 for i in range(100)], callback_url=receiver.url()
        )
        await receiver.wait_fired(healthy)
        await served.consumer.wait_ended()
        for name, timer_id in timer_ids.items():
            timer = await served.consumer.get(timer_id)
            assert (name, timer["status"]) == (name, "failed" if name in words else "completed")
            assert words.get(name, "") in (timer["last_error"] or ""), name
            assert (timer["last_error"] or "").isprintable(), name
        succeeding = timer_ids.keys() - words.keys()
        assert await served.consumer.total("completed") == len(healthy) + len(succeeding)
        assert not [line for line in served.log if line["level"] in {"error", "critical"}]
    assert receiver.times_fired == dict.fromkeys(healthy, 1)
