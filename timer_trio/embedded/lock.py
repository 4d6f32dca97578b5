"""One service to a DATA_DIR: file locks, which the kernel frees whatever ends their holders."""

from __future__ import annotations

import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from timer_trio.embedded.errors import DataDirHeldError


class DataDirLock:
    def __init__(self, data_dir: Path) -> None:
        """Take the lock, and write into it who holds it.

        Raises:
            DataDirHeldError: another process has it.
        """
        # Not inherited: PostgreSQL must not keep it when the service is killed.
        self._fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 1000, 0).decode(errors="replace").strip()
            self.release()
            raise DataDirHeldError(
                f"DATA_DIR {data_dir} is held by {holder or 'another process'}:"
                " stop that one, or choose another DATA_DIR"
            ) from None
        self._write_holder()

    def release(self) -> None:
        os.close(self._fd)

    def _write_holder(self) -> None:
        os.truncate(self._fd, 0)
        os.utime(self._fd)
        since = datetime.fromtimestamp(int(os.fstat(self._fd).st_mtime), UTC)
        holder = f"process {os.getpid()} on {socket.gethostname()} since {since:%Y-%m-%dT%H:%M:%SZ}"
        os.pwrite(self._fd, f"{holder}\n".encode(), 0)


class WorkersLock:
    """Shared by a service and its workers, which inherit `file`: they may outlive it for a while.

    `is_alone`: there are none of an earlier service. Take it while you hold the other lock.
    """

    def __init__(self, data_dir: Path) -> None:
        # Not inherited by PostgreSQL.
        self.file = os.open(data_dir / "lock.workers", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.is_alone = self._is_free()
        fcntl.flock(self.file, fcntl.LOCK_SH)

    def close(self) -> None:
        os.close(self.file)

    def _is_free(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
