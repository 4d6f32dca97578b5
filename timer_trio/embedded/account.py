"""Who runs PostgreSQL, which refuses to run as root, and which folders that account can reach."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from timer_trio.embedded.errors import EmbeddedUnavailableError

_RUN_AS: Final = Path(__file__).with_name("run_as.py")
_UNPRIVILEGED: Final = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An account that PostgreSQL accepts.

    `own` is that of this process. In a `namespace` root has another number, and files stay root's.
    An `unprivileged` one owns its files and must be able to reach them.
    """

    kind: Literal["own", "namespace", "unprivileged"]
    uid: int
    gid: int

    @property
    def file_owner(self) -> tuple[int, int]:
        if self.kind == "unprivileged":
            return self.uid, self.gid
        return os.geteuid(), os.getegid()

    def spawn(
        self, command: Sequence[str | Path], output: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        """Start a program in a process group of its own that ends when the calling thread does.

        So call it in the main thread.
        """
        account = "own" if self.kind == "own" else f"{self.kind}:{self.uid}:{self.gid}"
        run_as = [sys.executable, "-I", "-S", str(_RUN_AS), str(os.getpid()), account]
        return subprocess.Popen(  # noqa: S603 - our own programs, no words of a consumer
            [*run_as, *map(str, command)],
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A Ctrl-C in the terminal is for the service, which stops its database last.
            process_group=0,
        )

    def closed_folder(self, path: Path) -> Path | None:
        """Return the outermost folder above `path` that this account may not enter."""
        if self.kind != "unprivileged":
            return None
        above = [folder for folder in reversed(path.parents) if folder.exists()]
        return next((folder for folder in above if not self._may_enter(folder)), None)

    def _may_enter(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def choose_account(cluster: Path) -> Account:
    """Choose who runs PostgreSQL; the owner of a cluster that exists keeps it.

    Raises:
        EmbeddedUnavailableError: root has no account to become.
    """
    if os.geteuid() != 0:
        return Account("own", os.geteuid(), os.getegid())
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account("unprivileged", owner.st_uid, owner.st_gid)
    entry = _unprivileged_entry()
    namespace = Account("namespace", entry.pw_uid, entry.pw_gid)
    if namespace.spawn([], subprocess.DEVNULL).wait() == 0:
        return namespace
    return Account("unprivileged", entry.pw_uid, entry.pw_gid)


def _unprivileged_entry() -> pwd.struct_passwd:
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedUnavailableError(
        "PostgreSQL refuses to run as root, and this machine has neither an account 'postgres'"
        " nor 'nobody': start as another user, or set DATABASE_URL"
    )
