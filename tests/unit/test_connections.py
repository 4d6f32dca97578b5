from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from timer_trio.server.connections import Connections, Reason, network_of
from timer_trio.server.limits import ConnectionLimits
from timer_trio.telemetry.metrics import Metrics


class Client:
    """A connection that closes when it is told to, as a task does: a little later."""

    def __init__(self, network: str | None = "a") -> None:
        self.network = network
        self.reason: Reason | None = None
        self.is_stopped = False

    def close(self, reason: Reason) -> None:
        self.reason = reason

    def stop(self) -> None:
        self.is_stopped = True


class Table:
    def __init__(self, most: int, per_address: int) -> None:
        limits = ConnectionLimits(max_connections=most, max_connections_per_address=per_address)
        self.metrics = Metrics()
        self.all = Connections(limits, self.metrics)

    def add(self, *networks: str | None) -> list[Client]:
        clients = [Client(network) for network in networks]
        assert all(map(self.all.add, clients))
        return clients

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"timer_trio_{name}", labels)


def test_longest_waiting_makes_room() -> None:
    table = Table(3, 3)
    first, second, third = table.add("a", "b", "c")
    table.all.set_busy(first)
    table.all.set_waiting(first)
    table.all.set_busy(second)
    (fourth,) = table.add("d")
    assert third.reason is Reason.CONNECTION_LIMIT
    assert [c.reason for c in (first, second, fourth)] == [None] * 3
    assert len(table.all) == 3
    table.all.remove(third, third.reason)
    assert len(table.all) == 3


@pytest.mark.parametrize(("most", "per_address"), [(2, 2), (9, 1)])
def test_one_that_was_the_only_one_of_its_address_makes_room_for_the_next_of_it(
    most: int, per_address: int
) -> None:
    table = Table(most, per_address)
    first, other = table.add("a", "b")
    (second,) = table.add("a")
    assert first.reason is not None
    for client in (first, second, other):
        table.all.remove(client, Reason.CLIENT)
    assert len(table.all) == 0
    table.add("a", "b")


def test_one_of_the_same_address_makes_room_although_another_waits_longer() -> None:
    table = Table(10, 2)
    other, first, second = table.add("b", "a", "a")
    table.add("a")
    assert (other.reason, first.reason, second.reason) == (None, Reason.ADDRESS_LIMIT, None)


def test_beyond_its_address_nobody_has_a_place() -> None:
    table = Table(10, 2)
    for client in table.add("a", "a", "b"):
        table.all.set_busy(client)
    assert not table.all.add(Client("a"))
    assert table.sample("connections_closed_total", reason="address_limit") == 1
    assert table.sample("connections") == 3
    table.add("b", "c")


def test_files_of_a_socket_count_for_no_address() -> None:
    table = Table(4, 1)
    table.add(None, None, None, "a")
    assert len(table.all) == 4


def test_addresses_are_forgotten_with_their_last_connection() -> None:
    table = Table(4, 1)
    (first,) = table.add("a")
    table.all.set_busy(first)
    assert not table.all.add(Client("a"))
    table.all.remove(first, Reason.CLIENT)
    table.add("a")
    assert table.sample("connections_closed_total", reason="client") == 1


async def test_place_is_free_once_one_ends_or_waits() -> None:
    table = Table(2, 2)
    first, second = table.add("a", "b")
    table.all.set_busy(first)
    table.all.set_busy(second)
    changes: list[Callable[[], None]] = [
        lambda: table.all.set_waiting(first),
        lambda: table.all.remove(second, Reason.CLIENT),
    ]
    for change in changes:
        table.all.set_busy(first)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(table.all.wait_place)
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks
            change()


def test_closed_one_waits_for_nothing() -> None:
    table = Table(1, 1)
    (first,) = table.add("a")
    table.add("b")
    table.all.set_waiting(first)
    table.all.set_busy(first)
    assert len(table.all) == 1


def test_stop_reaches_all() -> None:
    table = Table(3, 3)
    clients = table.add("a", "b", None)
    table.all.stop()
    assert all(client.is_stopped for client in clients)
    assert table.all.is_stopping


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_addresses_of_one_client_count_together(one: str, other: str, *, is_same: bool) -> None:
    assert (network_of(one) == network_of(other)) is is_same
