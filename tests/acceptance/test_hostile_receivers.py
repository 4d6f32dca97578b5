from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from tests import receivers
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import Service

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


async def test_hostile_receiver_costs_its_own_timer_and_nothing_else(
    served: Service, receiver: ReceiverProcess
) -> None:
    async with AsyncExitStack() as stack:
        due_at = trio.current_time() + 0.5
        timer_ids: dict[str, str] = {}
        answering = {name: how for name, (how, _) in FAILING.items()} | SUCCEEDING
        for name, how in answering.items():
            hostile = await stack.enter_async_context(receivers.receiver(how))
            timer_ids[name] = await served.consumer.create(
                delay=max(0.0, due_at - trio.current_time()),
                callback_url=hostile.url(),
                timeout_seconds=1,
            )
        healthy = await served.consumer.create_many(
            [trio.current_time() + 0.3 + i / 200 for i in range(100)], callback_url=receiver.url()
        )
        await receiver.wait_fired(healthy)
        await served.consumer.wait_ended()
    for name, (_, words) in FAILING.items():
        timer = await served.consumer.get(timer_ids[name])
        assert (name, timer["status"]) == (name, "failed")
        assert words in timer["last_error"], name
        assert timer["last_error"].isprintable(), name
    for name in SUCCEEDING:
        timer = await served.consumer.get(timer_ids[name])
        assert (name, timer["status"]) == (name, "completed")
    assert await served.consumer.total("completed") == len(healthy) + len(SUCCEEDING)
    assert receiver.times_fired == dict.fromkeys(healthy, 1)
    assert not [line for line in served.log if line["level"] in {"error", "critical"}]
