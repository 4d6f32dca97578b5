from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
import trustme

from tests.receivers import (
    HERE,
    OK,
    Answering,
    Recorder,
    Stream,
    answers,
    answers_and_closes,
    answers_and_resets,
    answers_first_bytes,
    breaks_tls,
    closes_at_once,
    open_files,
    read_request,
    receiver,
    request_to,
    resets_at_once,
    self_signed_context,
    send,
    sends_a_record_more,
    tls_contexts,
)
from timer_trio.transport import CallbackTransport
from timer_trio.transport.errors import ConnectError, TransportError
from timer_trio.transport.pool import Pool
from timer_trio.transport.resolver import Resolver

pytestmark = pytest.mark.usefixtures("readinesses")


async def failure(
    answering: Answering, *, server: ssl.SSLContext | None, client: ssl.SSLContext | None
) -> str:
    """Post over TLS, and say why that failed."""
    before = open_files()
    async with (
        receiver(answering, ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        url = f"https://127.0.0.1:{served.port}/"
        with pytest.raises(TransportError) as raised:
            await send(transport, request_to(url))
    assert open_files() == before
    return str(raised.value).replace(str(served.port), "{port}")


async def test_answers_come_over_one_connection() -> None:
    recorder = Recorder()
    server, client = tls_contexts(trustme.CA(), "localhost")
    async with (
        receiver(recorder, ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        for is_once in (False, True):
            sent = request_to(served.url(host="localhost"), is_once=is_once)
            response = await send(transport, sent)
            assert (response.status, response.body) == (200, b"ok")
    assert (len(recorder.requests), served.connections) == (2, 1)


async def test_name_of_the_url_is_asked_for() -> None:
    server, client = tls_contexts(trustme.CA(), "localhost")
    here = Resolver(lambda _: (("127.0.0.1", 0),))
    asked: list[str | None] = []

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        asked.append(name)

    server.sni_callback = note
    async with (
        receiver(answers(OK), ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client, resolver=here) as transport,
    ):
        await send(transport, request_to(served.url(host="LOCALHOST.")))
    assert asked == ["localhost"]


async def test_own_context_asks_for_tls_1_2_and_trusts_no_stranger() -> None:
    server, _ = tls_contexts(trustme.CA(), "127.0.0.1")
    words = await failure(answers(OK), server=server, client=None)
    assert words == "certificate verify failed: unable to get local issuer certificate"
    context = CallbackTransport(guard=HERE)._ssl_context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_own_context_agrees_upon_http_1_1_with_a_server_that_would_rather_speak_another(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    server, _ = tls_contexts(authority, "127.0.0.1")
    server.set_alpn_protocols(["h2", "http/1.1"])
    agreed: list[str | None] = []

    async def notes_protocol(stream: Stream) -> None:
        await read_request(stream)
        assert isinstance(stream, trio.SSLStream)
        agreed.append(stream.selected_alpn_protocol())
        await stream.send_all(OK)

    async with (
        receiver(notes_protocol, ssl_context=server) as served,
        CallbackTransport(guard=HERE, ca_file=ca_file) as transport,
    ):
        await send(transport, request_to(served.url()))
    assert agreed == ["http/1.1"]


async def test_certificate_for_another_name_is_refused() -> None:
    server, client = tls_contexts(trustme.CA(), "name.example")
    words = await failure(answers(OK), server=server, client=client)
    assert words.startswith("certificate verify failed: IP address mismatch")


async def test_expired_certificate_is_refused() -> None:
    expired = datetime(2020, 1, 1, tzinfo=UTC)
    server, client = tls_contexts(trustme.CA(), "127.0.0.1", expires=expired)
    words = await failure(answers(OK), server=server, client=client)
    assert words == "certificate verify failed: certificate has expired"


async def test_self_signed_certificate_is_refused() -> None:
    words = await failure(answers(OK), server=self_signed_context(), client=None)
    assert words == "certificate verify failed: self-signed certificate"


@pytest.mark.parametrize(
    ("answering", "words"),
    [
        (resets_at_once, "TLS handshake failed: connection reset by 127.0.0.1:{port}"),
        (closes_at_once, "TLS handshake failed: connection "),
        (answers_first_bytes(), "TLS handshake failed: connection closed by 127.0.0.1:{port}"),
    ],
)
async def test_receiver_without_tls_is_told_in_words(answering: Answering, words: str) -> None:
    assert (await failure(answering, server=None, client=None)).startswith(words)


async def test_plain_http_answer_to_a_handshake_is_told_in_words() -> None:
    words = await failure(answers_first_bytes(OK), server=None, client=None)
    assert words == "TLS handshake failed: wrong version number"


@pytest.mark.parametrize(
    ("answering", "words"),
    [
        (answers_and_closes(), "connection closed by 127.0.0.1:{port} before an answer"),
        (
            answers_and_closes(b"HTTP"),
            "connection closed by 127.0.0.1:{port} in the middle of its answer",
        ),
        (answers_and_resets(b"HTTP"), "connection reset by 127.0.0.1:{port}"),
    ],
)
async def test_lost_connection_is_told_as_without_tls(answering: Answering, words: str) -> None:
    server, client = tls_contexts(trustme.CA(), "127.0.0.1")
    assert await failure(answering, server=server, client=client) == words


async def test_garbage_in_the_stream_is_told_in_words() -> None:
    server, client = tls_contexts(trustme.CA(), "127.0.0.1")
    words = await failure(breaks_tls, server=server, client=client)
    assert words == "TLS with 127.0.0.1:{port} failed: wrong version number"


async def test_bytes_behind_an_answer_end_the_connection() -> None:
    server, client = tls_contexts(trustme.CA(), "127.0.0.1")
    for behind in (b"x", b"x" * 100_000):
        says_more = answers_and_closes(OK + b"\r\n" * 20_000 + behind)
        async with (
            receiver(says_more, ssl_context=server) as served,
            CallbackTransport(guard=HERE, ssl_context=client, pool=Pool()) as transport,
        ):
            for _ in range(2):
                response = await send(transport, request_to(served.url()))
                assert response.status == 200
        assert served.connections == 2


async def test_record_behind_an_answer_ends_the_connection() -> None:
    server, client = tls_contexts(trustme.CA(), "127.0.0.1")
    async with (
        receiver(sends_a_record_more, ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        for _ in range(2):
            await send(transport, request_to(served.url(), is_once=True))
    assert served.connections == 2


async def test_authority_of_the_operators_file_is_trusted_besides_the_public_ones(
    tmp_path: Path,
) -> None:
    ours = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    ours.cert_pem.write_to_path(str(ca_file))
    server, _ = tls_contexts(ours, "127.0.0.1")
    stranger, _ = tls_contexts(trustme.CA(), "127.0.0.1")
    async with (
        receiver(answers(OK), ssl_context=server) as served,
        receiver(answers(OK), ssl_context=stranger) as strange,
        CallbackTransport(guard=HERE, ca_file=ca_file) as transport,
    ):
        assert (await send(transport, request_to(served.url()))).status == 200
        with pytest.raises(ConnectError, match="certificate verify failed"):
            await send(transport, request_to(strange.url()))
    trusted = transport._ssl_context.get_ca_certs()
    assert len(trusted) == len(CallbackTransport()._ssl_context.get_ca_certs()) + 1 > 50


async def test_receiver_hears_why_its_certificate_was_refused() -> None:
    heard: list[str] = []

    async def listens(stream: Stream) -> None:
        with pytest.raises(trio.BrokenResourceError) as raised:
            await stream.receive_some()
        assert isinstance(raised.value.__cause__, ssl.SSLError)
        heard.append(raised.value.__cause__.reason)

    server, _ = tls_contexts(trustme.CA(), "127.0.0.1")
    async with (
        receiver(listens, ssl_context=server) as served,
        CallbackTransport(guard=HERE) as transport,
    ):
        with pytest.raises(ConnectError):
            await send(transport, request_to(served.url()))
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert heard == ["TLSV1_ALERT_UNKNOWN_CA"]


async def test_receiver_hears_goodbye() -> None:
    heard: list[bytes] = []

    async def listens_to_the_end(stream: Stream) -> None:
        await read_request(stream)
        await stream.send_all(OK)
        heard.append(bytes(await stream.receive_some()))

    server, client = tls_contexts(trustme.CA(), "127.0.0.1")
    async with receiver(listens_to_the_end, ssl_context=server) as served:
        async with CallbackTransport(guard=HERE, ssl_context=client) as transport:
            await send(transport, request_to(served.url()))
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert heard == [b""]
