from __future__ import annotations

import atexit
import io
import os
import socket
import time
from collections.abc import Iterator
from select import PIPE_BUF
from typing import Final, TextIO, cast

import click
import pytest

from timer_trio.telemetry import output
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.output import Output, queued

SOON_S: Final = 10
MUCH: Final = "x" * 1_000_000
"""More than a pipe holds."""


class Pipe:
    """An Output, and the end of its pipe that is read or not."""

    def __init__(self) -> None:
        self.far_end, self.near_end = os.pipe()
        self.output = Output(self.near_end)

    def read_all(self) -> str:
        """Read until everything has been written."""
        os.set_blocking(self.far_end, False)
        data, ends_at = b"", time.monotonic() + SOON_S
        while time.monotonic() < ends_at:
            is_drained = self.output.drain(0.01)
            try:
                data += os.read(self.far_end, 1 << 20)
            except BlockingIOError:
                if is_drained:
                    return data.decode()
        raise AssertionError("it is not written")

    def close(self) -> None:
        """Free the thread, which ends with the process."""
        os.set_blocking(self.near_end, False)
        if self.far_end >= 0:
            self.read_all()
            os.close(self.far_end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def fill(pipe: Pipe) -> None:
    """Let the thread stand still."""
    pipe.output.write(MUCH)
    assert not pipe.output.drain(0.05)


def test_lines_are_written_in_order(pipe: Pipe) -> None:
    lines = [f"line {number}\n" for number in range(10_000)]
    for line in lines:
        pipe.output.write(line)
    assert pipe.read_all() == "".join(lines)
    print("last é", file=pipe.output)
    assert pipe.read_all() == "last é\n"
    assert pipe.output.dropped == 0


def test_nobody_waits_for_a_reader(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MAX_LINES", 10)
    fill(pipe)
    for number in range(100):
        pipe.output.write(f"{number}\n")
    assert pipe.output.dropped == 91
    words = "".join(f"{number}\n" for number in range(9))
    dropped = "(91 lines that nobody read were dropped)\n"
    assert pipe.read_all() == MUCH + words + dropped
    pipe.output.write("again\n")
    assert pipe.read_all() == "again\n"


def test_what_waits_takes_only_so_much_memory(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MAX_CHARACTERS", len(MUCH) + 10)
    fill(pipe)
    for _ in range(100):
        pipe.output.write("abcdefgh\n")
    assert pipe.output.dropped == 99
    pipe.output.write("\n")
    assert pipe.output.dropped == 99


def test_a_line_longer_than_all_that_may_wait_is_written_alone(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MAX_CHARACTERS", 10)
    pipe.output.write(MUCH)
    assert pipe.read_all() == MUCH


def test_the_end_waits_a_moment_for_a_reader_and_no_longer(pipe: Pipe) -> None:
    pipe.output.write("quick\n")
    assert pipe.output.drain(SOON_S)
    fill(pipe)
    began = time.monotonic()
    assert not pipe.output.drain(0.2)
    assert 0.1 < time.monotonic() - began < SOON_S


def test_what_cannot_be_written_is_lost_and_counted(pipe: Pipe) -> None:
    os.close(pipe.far_end)
    pipe.far_end = -1
    for _ in range(3):
        pipe.output.write("nobody is there\n")
    assert pipe.output.drain(SOON_S)
    assert pipe.output.dropped == 3


def test_a_pipe_that_somebody_else_made_nonblocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.near_end, False)
    fill(pipe)
    pipe.output.write("end\n")
    assert pipe.read_all() == f"{MUCH}end\n"
    assert pipe.output.dropped == 0


def test_no_write_cuts_a_line_that_the_system_would_keep_whole() -> None:
    texts = [f"{number} {'é' * (number * 7 % 200)}\n" for number in range(500)]
    texts[100] = "x" * 10_000 + "\n"
    # Each write is one datagram.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        stream = Output(theirs.fileno())
        for text in texts:
            stream.write(text)
        written: list[bytes] = []
        while sum(map(len, written)) < len("".join(texts).encode()):
            written.append(ours.recv(20_000))
        assert stream.drain(SOON_S)
    assert b"".join(written).decode() == "".join(texts)
    assert all(piece.endswith(b"\n") for piece in written)
    longest, *others = sorted(written, key=len, reverse=True)
    assert longest == texts[100].encode()
    assert max(map(len, others)) <= PIPE_BUF
    assert len(written) < len(texts) / 2


def test_commands_find_a_text_stream(pipe: Pipe) -> None:
    click.echo("words é", file=cast("TextIO", pipe.output))
    assert pipe.read_all() == "words é\n"
    with pytest.raises(TypeError):
        pipe.output.write(cast("str", b"bytes"))


def test_stream_in_memory_stays_as_it_is() -> None:
    memory = io.StringIO()
    assert queued(memory) is memory


def test_closed_stream_becomes_one_that_forgets() -> None:
    with queued(None) as stream:
        print("lost", file=stream)


def test_dropped_lines_of_this_process_are_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MAX_LINES", 0)
    monkeypatch.setattr(output, "_OUTPUTS", [])
    monkeypatch.setattr(atexit, "register", lambda _: None)
    ours, theirs = os.pipe()
    with os.fdopen(ours), os.fdopen(theirs, "w") as near_end:
        stream = cast("Output", queued(near_end))
        assert stream.write("first\n") == len("first\n")
        for _ in range(3):
            stream.write("more\n")
        assert stream.drain(SOON_S)
        value = Metrics().registry.get_sample_value("timer_trio_log_dropped_total")
        assert value == output.dropped_lines() > 0
