"""The service behind a real nginx, by the very lines of its guide."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest
import trio
import trustme

from tests.api_under_test import API_KEY, WANTED, served_api
from tests.debian import program

GUIDE: Final = Path(__file__).parents[2] / "docs" / "guides" / "reverse-proxy.md"
PREFIX: Final = "/timer-trio"
AROUND: Final = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{documented}
}}
"""
ACCOUNT: Final = "nobody"
KEY: Final = {"X-API-Key": API_KEY}
PATIENCE_S: Final = 30
AS_SENT: Final = "proxy_pass http://timer-trio;"
WAYS: Final = {"prefix kept": AS_SENT, "prefix taken away": "proxy_pass http://timer-trio/;"}


def documented(swaps: Mapping[str, str]) -> str:
    """Return what the guide has for nginx, with what is of this machine in its place."""
    (block,) = re.findall(r"^```nginx\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    text = str(block)
    for old, new in swaps.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Behind(NamedTuple):
    client: httpx.AsyncClient
    """Asks nginx, under the prefix."""
    direct: httpx.AsyncClient
    """Asks the service."""
    trusted: ssl.SSLContext


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder of the account that nginx runs as."""
    with tempfile.TemporaryDirectory(prefix="tt-nginx-") as name:
        if os.geteuid() == 0:
            shutil.chown(name, ACCOUNT)
        yield Path(name)


@pytest.fixture
async def behind(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Behind]:
    """Run nginx as the guide has it, or another way."""
    nginx = program("nginx")
    trusted, authority = ssl.create_default_context(), trustme.CA()
    authority.configure_trust(trusted)
    certificate = authority.issue_cert("example.com", "127.0.0.1")
    for name, pem in (
        ("key.pem", certificate.private_key_pem),
        ("cert.pem", certificate.cert_chain_pems[0]),
    ):
        pem.write_to_path(str(folder / name))
        (folder / name).chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with served_api(root_path=PREFIX) as (_, url):
            config = documented(
                {
                    AS_SENT: getattr(request, "param", AS_SENT),
                    "127.0.0.1:8080": url.removeprefix("http://"),
                    "listen 443": f"listen 127.0.0.1:{port}",
                    "/etc/nginx/tls/example.com.pem": f"{folder}/cert.pem",
                    "/etc/nginx/tls/example.com.key": f"{folder}/key.pem",
                }
            )
            (folder / "nginx.conf").write_text(AROUND.format(folder=folder, documented=config))
            async with (
                trio.open_nursery() as nursery,
                httpx.AsyncClient(headers=KEY, base_url=url, timeout=PATIENCE_S) as direct,
                httpx.AsyncClient(headers=KEY, verify=trusted, timeout=PATIENCE_S) as client,
            ):
                client.base_url = httpx.URL(f"https://127.0.0.1:{port}{PREFIX}")
                nursery.start_soon(run, nginx, folder, listening)
                yield Behind(client, direct, trusted)
                nursery.cancel_scope.cancel()


async def run(nginx: str, folder: Path, listening: socket.socket) -> None:
    """Run nginx; it has the socket from us, so that nobody has to ask whether it listens yet."""
    await trio.run_process(
        [nginx, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")],
        env={"NGINX": f"{listening.fileno()};"},
        pass_fds=[listening.fileno()],
        user=ACCOUNT if os.geteuid() == 0 else None,
    )


@pytest.mark.parametrize("behind", WAYS.values(), ids=WAYS, indirect=True)
async def test_whatever_is_answered_leads_through_the_proxy(behind: Behind) -> None:
    created = await behind.client.post("/timers", json=WANTED)
    assert created.status_code == 201
    location = created.headers["location"]
    assert location == f"{PREFIX}/timers/{created.json()['data']['id']}"
    # As a client does: against where it was answered, not against the base of ours.
    followed = await behind.client.get(created.url.join(location))
    assert followed.json()["data"]["id"] == created.json()["data"]["id"]

    (server,) = (await behind.client.get("/openapi.json")).json()["servers"]
    there = created.url.join(f"{server['url']}/health")
    assert (await behind.client.get(there)).json()["data"]["status"] == "up"

    bare = await behind.client.get(created.url.join(PREFIX))
    assert (bare.status_code, bare.headers["location"].endswith(f"{PREFIX}/")) == (308, True)
    assert (await behind.direct.get("/health/ready")).status_code == 200


async def test_all_that_a_page_names_is_there(behind: Behind) -> None:
    for path in ("/", "/docs"):
        page = await behind.client.get(path, headers={"Accept": "text/html"})
        links = [page.url.join(link) for link in re.findall(r'(?:href|src)="([^"#]+)"', page.text)]
        ours = [link for link in links if link.host == page.url.host]
        assert ours
        assert {(await behind.client.get(link)).status_code for link in ours} == {200}


async def test_key_arrives_as_it_was_sent(behind: Behind) -> None:
    put = await behind.client.put("/timers/by-key/a%2F%2Fb%20%C3%BC", json=WANTED)
    assert put.status_code == 201
    timer_id = put.json()["data"]["id"]
    timer = (await behind.direct.get(f"/timers/{timer_id}")).json()["data"]
    assert timer["key"] == "a//b \N{LATIN SMALL LETTER U WITH DIAERESIS}"


async def test_import_is_told_of_while_it_runs(behind: Behind) -> None:
    """Its sender waits for the first line of the answer before he sends the rest."""
    line = json.dumps(WANTED).encode() + b"\n"
    head = (
        f"POST {PREFIX}/timers/import HTTP/1.1\r\nHost: example.com\r\nX-API-Key: {API_KEY}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {2 * len(line)}\r\n"
        "Connection: close\r\n\r\n"
    )
    with trio.fail_after(PATIENCE_S):
        client = await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", behind.client.base_url.port or 0, ssl_context=behind.trusted
        )
        async with client:
            await client.send_all(head.encode() + line)
            told = b""
            while b'"through_line"' not in told:
                told += await more(client)
            await client.send_all(line)
            while b'"imported": 2' not in told:
                told += await more(client)
    assert told.startswith(b"HTTP/1.1 200 ")


async def more(stream: trio.abc.ReceiveStream) -> bytes:
    data = bytes(await stream.receive_some())
    assert data, "the answer has ended"
    return data


async def test_body_is_the_services_to_judge(behind: Behind) -> None:
    timer = {**WANTED, "callback_payload": "x" * 200_000}
    taken = await behind.client.post("/timers/batch", json={"timers": [timer] * 20})
    assert taken.status_code == 201
    refused = await behind.client.post("/timers/batch", json={"timers": [timer] * 50})
    assert (refused.status_code, refused.json()["code"]) == (413, 2)
