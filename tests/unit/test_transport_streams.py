from __future__ import annotations

import socket

import pytest

from timer_trio.transport.streams import TcpStream


def read_to_the_end(connected: socket.socket) -> bytes:
    connected.setblocking(True)
    data = b""
    while some := connected.recv(1_000_000):
        data += some
    return data


@pytest.mark.parametrize("size", [10, 50_000_000])
def test_goodbye_is_said_only_where_all_before_it_was(size: int) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        stream = TcpStream(here)
        stream.send(b"x" * size)
        is_cut = stream.has_unsent
        assert is_cut is (size > 10)
        there.setblocking(False)
        first = there.recv(1_000_000)  # now there would be room for it
        stream.close(b"goodbye")
        assert (first + read_to_the_end(there)).endswith(b"goodbye") is not is_cut


def test_what_is_sent_behind_the_unsent_waits_for_its_turn() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        stream = TcpStream(here)
        stream.send(b"x" * 5_000_000)
        there.recv(1_000_000)
        stream.send(b"behind")
        assert stream.has_unsent
        stream.close()
        assert b"behind" not in read_to_the_end(there)
