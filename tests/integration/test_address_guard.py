"""No callback reaches an address that is not public, however it is spelled and whoever names it."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.api_under_test import WANTED, running_api
from tests.receivers import HERE, OK, answers, receiver, request_to, send
from tests.refused_addresses import MALFORMED, NUMERIC, REFUSED, Refused
from timer_trio.domain.addresses import LOOPBACK, AddressGuard
from timer_trio.transport import CallbackTransport
from timer_trio.transport.errors import ConnectError
from timer_trio.transport.name_memory import FRESH_S, Host
from timer_trio.transport.resolver import Resolver

FIRST_ALONE = AddressGuard([ip_network("127.0.0.1")])
SECOND_ALONE = AddressGuard([ip_network("127.0.0.2")])


def spelled(refused: Refused) -> str:
    return ascii(refused.host)


def error_of(answer: httpx.Response) -> Any:
    assert (answer.status_code, answer.json()["code"]) == (400, 2), answer.text
    (error,) = answer.json()["data"]["errors"]
    assert answer.json()["message"] == f"{error['field']}: {error['message']}"
    return error


def named(*hosts: Host) -> Resolver:
    """Resolve every name to these addresses."""
    return Resolver(lambda _: hosts)


def test_list_is_long_enough() -> None:
    assert len({refused.host for refused in REFUSED}) == len(REFUSED) >= 60


@pytest.mark.parametrize("refused", NUMERIC, ids=spelled)
async def test_url_that_names_a_refused_address_is_refused_by_the_api(refused: Refused) -> None:
    words = (
        f"must not lead to {refused.ip}, {refused.kind}: to admit it, the operator adds "
        f"{refused.ip} to CALLBACK_ALLOW"
    )
    async with running_api(allowed=()) as api:
        created = await api.create()
        for url in (f"http://{refused.host}/", f"https://{refused.host}:8443/a?b#c"):
            posted = await api.client.post("/timers", json={**WANTED, "callback_url": url})
            assert error_of(posted) == {"field": "callback_url", "message": words}
            put = await api.client.put(f"/timers/{created['id']}", json={"callback_url": url})
            assert error_of(put) == {"field": "callback_url", "message": words}
        assert (await api.get(created["id"]))["callback_url"] == WANTED["callback_url"]
        assert (await api.client.get("/timers")).json()["data"]["total"] == 1


@pytest.mark.parametrize("refused", MALFORMED, ids=spelled)
async def test_address_spelled_as_no_host_can_be_is_refused_by_the_api(refused: Refused) -> None:
    async with running_api(allowed=()) as api:
        wanted = {**WANTED, "callback_url": f"http://{refused.host}/"}
        error = error_of(await api.client.post("/timers", json=wanted))
        assert error["field"] == "callback_url"
        assert "CALLBACK_ALLOW" not in error["message"]


async def test_batch_and_import_refuse_such_a_url_as_well() -> None:
    refused = {**WANTED, "callback_url": "http://0x7f.1/"}
    async with running_api(allowed=()) as api:
        batch = await api.client.post("/timers/batch", json={"timers": [WANTED, refused]})
        assert error_of(batch)["field"] == "timers[1].callback_url"
        imported = await api.client.post(
            "/timers/import",
            content=f"{json.dumps(WANTED)}\n{json.dumps(refused)}\n",
            headers={"Content-Type": "application/x-ndjson"},
        )
        told = json.loads(imported.text.splitlines()[-1])["data"]
        assert (told["imported"], told["refused"]) == (1, 1)
        (error,) = told["errors"]
        assert (error["line"], error["field"]) == (2, "callback_url")
        assert "127.0.0.1, a loopback address" in error["message"]


@pytest.mark.parametrize("refused", REFUSED, ids=spelled)
async def test_name_that_leads_to_a_refused_address_is_not_called(refused: Refused) -> None:
    async with (
        receiver(answers(OK)) as trap,
        CallbackTransport(resolver=named((refused.ip, 0))) as transport,
    ):
        with capture_logs() as logs, pytest.raises(ConnectError) as raised:
            await send(transport, request_to(trap.url(host="hooks.example")))
        assert trap.connections == 0
    # The consumer learns no address; the operator does.
    assert str(raised.value) == (
        f"hooks.example leads to {refused.kind}; CALLBACK_ALLOW can admit it"
    )
    assert logs == [
        {
            "event": "addresses_refused",
            "host": "hooks.example",
            "addresses": {refused.ip: refused.kind},
            "log_level": "info",
        }
    ]


@pytest.mark.parametrize("ip", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_what_the_list_allows_is_called(ip: str) -> None:
    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(guard=HERE, resolver=named((ip, 0))) as transport,
    ):
        sent = request_to(served.url(host="hooks.example"))
        assert (await send(transport, sent)).status == 200
        assert served.connections == 1


async def test_name_on_the_list_is_called_wherever_it_leads() -> None:
    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(
            guard=AddressGuard(["hooks.internal"]), resolver=named(("127.0.0.1", 0))
        ) as transport,
    ):
        sent = request_to(served.url(host="Hooks.Internal."))
        assert (await send(transport, sent)).status == 200
        with pytest.raises(ConnectError, match="leads to a loopback address"):
            await send(transport, request_to(served.url(host="other.internal")))
        assert served.connections == 1


async def test_address_in_the_url_is_vetted_too() -> None:
    async with receiver(answers(OK)) as trap, CallbackTransport() as transport:
        with pytest.raises(ConnectError) as raised:
            await send(transport, request_to(trap.url()))
        assert trap.connections == 0
    assert str(raised.value) == (
        "127.0.0.1 refused: a loopback address; CALLBACK_ALLOW can admit it"
    )


async def test_every_kind_of_address_that_a_name_leads_to_is_told_once() -> None:
    hosts = (("10.0.0.7", 0), ("fe80::1", 2), ("10.0.0.8", 0))
    async with CallbackTransport(resolver=named(*hosts)) as transport:
        with capture_logs() as logs, pytest.raises(ConnectError) as raised:
            await send(transport, request_to("http://hooks.example/"))
    assert str(raised.value) == (
        "hooks.example leads to a private address and a link-local address; "
        "CALLBACK_ALLOW can admit it"
    )
    assert list(logs[0]["addresses"]) == ["10.0.0.7", "fe80::1", "10.0.0.8"]


async def test_only_the_admitted_addresses_of_a_name_are_tried() -> None:
    hosts = (("127.0.0.1", 0), ("127.0.0.2", 0), ("::1", 0))
    async with (
        receiver(answers(OK)) as trap,
        CallbackTransport(guard=SECOND_ALONE, resolver=named(*hosts)) as transport,
    ):
        with pytest.raises(ConnectError) as raised:
            await send(transport, request_to(trap.url(host="hooks.example")))
        assert trap.connections == 0
    assert str(raised.value) == f"connection refused by 127.0.0.2:{trap.port}"


async def test_name_that_changes_its_address_is_called_where_it_was_vetted(
    mock_clock: MockClock,
) -> None:
    answered: list[str] = []

    def rebinding(_: str) -> tuple[Host, ...]:
        answered.append("127.0.0.2" if answered else "127.0.0.1")
        return ((answered[-1], 0),)

    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(guard=FIRST_ALONE, resolver=Resolver(rebinding)) as transport,
    ):
        url = served.url(host="hooks.example")
        assert (await send(transport, request_to(url))).status == 200
        assert (answered, served.connections) == (["127.0.0.1"], 1)
        # Once the answer is forgotten the next connection asks again, and is vetted again.
        mock_clock.jump(FRESH_S)
        other = request_to(f"http://hooks.example:{served.port - 1}/")
        with pytest.raises(ConnectError, match=r"^hooks\.example leads to a loopback address"):
            await send(transport, other)
        assert answered == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize(
    "url",
    [
        *("http://1.1.1.1/", "http://[2606:4700::1111]/", "https://example.com/", "http://0x1.1/"),
        *("http://127.0.0.1.example.com/", "http://10.example/", "http://localhost/"),
    ],
)
async def test_public_address_and_name_are_taken_by_the_api(url: str) -> None:
    async with running_api(allowed=()) as api:
        assert (await api.create(callback_url=url))["callback_url"] == url


async def test_api_takes_what_the_list_allows() -> None:
    async with running_api(allowed=(*LOOPBACK, ip_network("10.0.0.0/8"))) as api:
        for host in ("127.0.0.1:9000", "[::1]", "0x7f.1", "[::ffff:10.0.0.7]", "10.7"):
            await api.create(callback_url=f"http://{host}/")
        wanted = {**WANTED, "callback_url": "http://192.168.1.1/"}
        error = error_of(await api.client.post("/timers", json=wanted))
        assert "192.168.1.1, a private address" in error["message"]
