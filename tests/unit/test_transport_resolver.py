from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock

from timer_trio.transport.errors import ConnectError, ShortageError
from timer_trio.transport.name_memory import Host
from timer_trio.transport.resolver import MAX_ADDRESSES, MAX_WAITING, Address, Resolver

FOUND = (("192.0.2.7", 0),)
ADDRESS = Address("192.0.2.7", 443)


class NameServer:
    """Answers look-ups when it is let; a name in `missing` does not exist."""

    def __init__(self, *missing: str) -> None:
        self.asked: list[str] = []
        self.missing = set(missing)
        self.heard = threading.Semaphore(0)
        self.answers = threading.Event()
        self.answers.set()

    def look_up(self, host: str) -> tuple[Host, ...]:
        self.asked.append(host)
        self.heard.release()
        self.answers.wait(10)
        if host in self.missing:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service\x00 not known")
        return FOUND

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self.answers.clear()
        try:
            yield
        finally:
            self.answers.set()


async def wait_heard(server: NameServer) -> None:
    await trio.to_thread.run_sync(server.heard.acquire)  # noqa: TID251 - waits for a thread


@pytest.mark.parametrize(
    ("host", "text"),
    [("192.0.2.7", "192.0.2.7:80"), ("2001:db8::1", "[2001:db8::1]:80"), ("127.1", "127.0.0.1:80")],
)
async def test_ip_literal_needs_no_look_up(host: str, text: str) -> None:
    server = NameServer()
    (address,) = await Resolver(server.look_up).resolve(host, 80)
    assert str(address) == text
    assert not server.asked


async def test_one_look_up_serves_all_who_wait() -> None:
    server = NameServer()
    resolver = Resolver(server.look_up)
    found: list[list[Address]] = []

    async def resolve() -> None:
        found.append(await resolver.resolve("name.example", 443))

    with server.hanging():
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(resolve)
            await wait_heard(server)
            await trio.testing.wait_all_tasks_blocked()
            server.answers.set()
    assert found == [[ADDRESS]] * 20
    assert server.asked == ["name.example"]


async def test_canceled_asker_leaves_its_look_up_to_the_others() -> None:
    server = NameServer()
    resolver = Resolver(server.look_up)
    found: list[list[Address]] = []
    first = trio.CancelScope()

    async def resolve_first() -> None:
        with first:
            await resolver.resolve("name.example", 443)

    async def resolve() -> None:
        found.append(await resolver.resolve("name.example", 443))

    with server.hanging():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolve_first)
            await wait_heard(server)
            nursery.start_soon(resolve)
            await trio.testing.wait_all_tasks_blocked()
            first.cancel()
            await trio.testing.wait_all_tasks_blocked()
            server.answers.set()
    assert found == [[ADDRESS]]
    assert server.asked == ["name.example"]


async def test_look_up_that_never_began_is_taken_over() -> None:
    server = NameServer()
    resolver = Resolver(server.look_up, threads=1)
    found: list[list[Address]] = []
    first = trio.CancelScope()

    async def resolve_first() -> None:
        with first:
            await resolver.resolve("name.example", 443)

    async def resolve(name: str) -> None:
        found.append(await resolver.resolve(name, 443))

    with server.hanging():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolve, "slow.example")
            await wait_heard(server)
            nursery.start_soon(resolve_first)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(resolve, "name.example")
            await trio.testing.wait_all_tasks_blocked()
            first.cancel()
            await trio.testing.wait_all_tasks_blocked()
            server.answers.set()
    assert found == [[ADDRESS]] * 2
    assert server.asked == ["slow.example", "name.example"]


async def test_name_that_hangs_holds_one_thread_however_many_gave_up() -> None:
    server = NameServer()
    resolver = Resolver(server.look_up, threads=2)
    with server.hanging():
        for attempt in range(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(resolver.resolve, "hangs.example", 443)
                if attempt == 0:
                    await wait_heard(server)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert server.asked == ["hangs.example"]


async def test_failure_is_remembered_for_5_s(mock_clock: MockClock) -> None:
    server = NameServer("name.example")
    resolver = Resolver(server.look_up)
    for _ in range(3):
        with pytest.raises(ConnectError) as raised:
            await resolver.resolve("name.example", 443)
        assert str(raised.value) == "no address for name.example: Name or service not known"
    assert len(server.asked) == 1
    server.missing.clear()
    mock_clock.jump(5.1)
    assert await resolver.resolve("name.example", 443) == [ADDRESS]


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "nul\x00.example", "bücher.example"])
async def test_host_that_is_no_name_has_no_address(host: str) -> None:
    with pytest.raises(ConnectError, match=r"^no address for "):
        await Resolver().resolve(host, 80)


async def test_success_is_kept_for_5_s(mock_clock: MockClock) -> None:
    server = NameServer()
    resolver = Resolver(server.look_up)
    for pause_s, asked in ((0, 1), (4.9, 1), (0.2, 2)):
        mock_clock.jump(pause_s)
        assert await resolver.resolve("name.example", 443) == [ADDRESS]
        assert len(server.asked) == asked


async def test_silent_name_server_leaves_its_names_with_old_addresses_for_a_minute(
    autojump_clock: MockClock,
) -> None:
    server = NameServer()
    resolver = Resolver(server.look_up)
    await resolver.resolve("name.example", 443)
    await trio.sleep(6)
    with server.hanging():
        for waited_s in (1, 0):
            began = autojump_clock.current_time()
            assert await resolver.resolve("name.example", 443) == [ADDRESS]
            assert autojump_clock.current_time() - began == pytest.approx(waited_s)
        await trio.sleep(54)
        with trio.move_on_after(30) as timeout:
            await resolver.resolve("name.example", 443)
        assert timeout.cancelled_caught
        for _ in range(2):
            await wait_heard(server)
    assert server.asked == ["name.example"] * 2


async def test_old_addresses_do_not_outlive_an_answer(mock_clock: MockClock) -> None:
    server = NameServer()
    resolver = Resolver(server.look_up)
    await resolver.resolve("name.example", 443)
    mock_clock.jump(6)
    server.missing.add("name.example")
    with pytest.raises(ConnectError):
        await resolver.resolve("name.example", 443)


async def test_names_of_one_silent_domain_hold_a_quarter_of_the_threads() -> None:
    server = NameServer()
    resolver = Resolver(server.look_up, threads=8)
    with server.hanging():
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(resolver.resolve, f"h{number}.silent.example", 80)
            for number in range(3):
                nursery.start_soon(resolver.resolve, f"h{number}.other{number}.example", 80)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2 + 1):
                await wait_heard(server)
            nursery.cancel_scope.cancel()
    assert len(server.asked) <= 2 + 3


async def test_canceled_name_leaves_the_queue() -> None:
    server = NameServer()
    resolver = Resolver(server.look_up, threads=1)
    with server.hanging():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolver.resolve, "slow.example", 443)
            await wait_heard(server)
            nursery.start_soon(resolver.resolve, "canceled.example", 443)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert await resolver.resolve("name.example", 443) == [ADDRESS]
    assert server.asked == ["slow.example", "name.example"]


async def test_queue_of_names_has_an_end() -> None:
    server = NameServer()
    resolver = Resolver(server.look_up, threads=1)
    with server.hanging():
        async with trio.open_nursery() as nursery:
            for number in range(MAX_WAITING + 1):
                nursery.start_soon(resolver.resolve, f"{number}.example", 443)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ShortageError, match="too many names"):
                await resolver.resolve("name.example", 443)
            nursery.cancel_scope.cancel()


async def test_shortage_is_no_answer_and_not_remembered(mock_clock: MockClock) -> None:
    errors = [
        OSError(errno.EMFILE, "Too many open files"),
        socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"),
        MemoryError(),
    ]

    def look_up(_: str) -> tuple[Host, ...]:
        if errors:
            raise errors.pop()
        return FOUND

    resolver = Resolver(look_up)
    for _ in range(len(errors)):
        with pytest.raises(ShortageError, match=r"^no .* left to look name.example up$"):
            await resolver.resolve("name.example", 443)
    assert await resolver.resolve("name.example", 443) == [ADDRESS]
    assert mock_clock.current_time() == 0


async def test_failure_of_a_look_up_that_was_short_is_none_of_the_name(
    mock_clock: MockClock,
) -> None:
    resolver = Resolver(NameServer("name.example").look_up)
    resolver.note_shortage()
    with pytest.raises(ShortageError):
        await resolver.resolve("name.example", 443)
    mock_clock.jump(1)
    with pytest.raises(ConnectError):
        await resolver.resolve("name.example", 443)


async def test_name_without_a_thread_is_short_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    resolver = Resolver(NameServer().look_up)
    with monkeypatch.context() as patched:
        patched.setattr(trio.lowlevel, "start_thread_soon", no_thread)
        for _ in range(2):
            with pytest.raises(ShortageError, match="no thread left"):
                await resolver.resolve("name.example", 443)
    assert await resolver.resolve("name.example", 443) == [ADDRESS]


async def test_only_some_of_many_addresses_are_tried() -> None:
    many = tuple((f"192.0.2.{n}", 0) for n in range(100))
    found = await Resolver(lambda _: many).resolve("many.example", 80)
    assert len(found) == MAX_ADDRESSES


async def test_system_knows_localhost() -> None:
    found = await Resolver().resolve("localhost", 80)
    assert {address.ip for address in found} <= {"127.0.0.1", "::1"}


async def test_bug_in_a_look_up_raises_as_itself_and_frees_the_name() -> None:
    def broken(_: str) -> tuple[Host, ...]:
        raise ZeroDivisionError

    resolver = Resolver(broken)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await resolver.resolve("name.example", 443)
