"""Folders for the databases of tests: none outlives its test, so no disk need have them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - each folder in it has a name of its own
_ROOM_BYTES: Final = 4 << 30
"""For a server of each process of the tests, with a gigabyte of its log at most."""


@contextmanager
def database_folder() -> Iterator[Path]:
    """Make a folder that PostgreSQL can reach, in memory if there is room, and remove it.

    On a disk each commit and each new database is waited for. pytest's own folders are closed to
    the account that runs PostgreSQL for root.
    """
    where = _MEMORY if _is_fit(_MEMORY) else None
    with tempfile.TemporaryDirectory(prefix="tt-", dir=where) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _is_fit(folder: Path) -> bool:
    """Whether it has room, and programs may run from it: PostgreSQL's may have to be copied."""
    if not folder.is_dir():
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= _ROOM_BYTES and not found.f_flag & os.ST_NOEXEC
