from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from timer_trio.env_file import EnvFile, EnvFileError, read_env_file

FOREIGN = EnvFile(is_foreign=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_file_that_names_a_variable_of_ours_is_read_whole(path: Path) -> None:
    path.write_text("PORT=1000\nexport TIMER_TRIO_API_KEY='$HOME x'\n# a comment\nEMPTY\n")
    assert read_env_file(path) == EnvFile({"PORT": "1000", "TIMER_TRIO_API_KEY": "$HOME x"})


@pytest.mark.parametrize(
    "content",
    [
        b"DATABASE_URL=postgresql://shop\nAPI_KEY=x\nPORT=3000\n",
        b"# TIMER_TRIO_PORT=1\nDATABASE_URL=postgresql://shop\n",
        b"MY_TIMER_TRIO_PORT=1\n",
        b"NOTE=TIMER_TRIO_PORT\n",
        b"\xff = nobody can read this\n",
        b"A='\nB=1\n",
    ],
)
def test_file_of_somebody_else_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read_env_file(path) == FOREIGN


def test_file_that_is_not_there_or_no_file_sets_nothing(path: Path) -> None:
    assert read_env_file(path) == EnvFile()
    path.mkdir()  # where some keep their virtual environment
    assert read_env_file(path) == EnvFile()


def test_empty_file_is_nobodys(path: Path) -> None:
    path.write_text("\n")
    assert read_env_file(path) == EnvFile()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\nTIMER_TRIO_PORT=\xff\n", "line 2 is not UTF-8"),
        (b"TIMER_TRIO_PORT=1\n\n\nA='s3cret\n", "look at line 4"),
        (b"A='s3cret\nexport TIMER_TRIO_API_KEY=\"s3cret\n", "look at line 1, 2"),
        (b"TIMER_TRIO_PORT=1\ns3cret and words\n", "look at line 2"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_line_without_what_it_says(
    path: Path, content: bytes, words: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(EnvFileError) as raised:
        read_env_file(path)
    assert str(raised.value).startswith(f"{path} cannot be read: ")
    assert str(raised.value).endswith(words)
    assert "s3cret" not in str(raised.value)


def test_byte_order_mark_is_no_part_of_a_name(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfTIMER_TRIO_PORT=1\r\nHOST=::1\r\n")
    assert read_env_file(path).values == {"TIMER_TRIO_PORT": "1", "HOST": "::1"}


def test_pipe_is_read_once(path: Path) -> None:
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=["TIMER_TRIO_PORT=1\n"])
    writer.start()
    assert read_env_file(path).values == {"TIMER_TRIO_PORT": "1"}
    writer.join()
