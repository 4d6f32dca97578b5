"""The folders of DATA_DIR: whose they are, and where the socket fits."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from timer_trio.config import Settings
from timer_trio.embedded.account import Account, choose_account
from timer_trio.embedded.errors import EmbeddedUnavailableError

SYSTEM_DATA_DIR: Final = Path("/var/lib/timer-trio")
SOCKET_NAME: Final = ".s.PGSQL.5432"
# 107 on Linux, 103 on macOS.
_SOCKET_PATH_MAX_BYTES: Final = 103
# Commas and quotes part lists, in the server's settings and in connection strings.
_UNFIT: Final = frozenset(",\"'\\")


def make_data_dir(data_dir: Path) -> None:
    # An unprivileged account must pass through root's; what is secret in it is closed by itself.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    data_dir.mkdir(mode, exist_ok=True)


def make_socket_dir(data_dir: Path, account: Account) -> Path:
    """Make the private folder of the socket: in DATA_DIR, or where the path is short enough."""
    folder = _socket_dir(data_dir)
    folder.mkdir(0o700, exist_ok=True)
    status = folder.lstat()
    # In the folder for temporary files anybody could have put it there.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {os.geteuid(), account.uid}:
        raise EmbeddedUnavailableError(
            f"{folder}, the folder for the database's socket, belongs to somebody else: remove it,"
            " or choose a shorter DATA_DIR"
        )
    folder.chmod(0o700)
    os.chown(folder, *account.file_owner)
    return folder


def _socket_dir(data_dir: Path) -> Path:
    folder = data_dir / "socket"
    if _fits(folder):
        return folder
    name = f"timer-trio-{os.geteuid()}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    short = Path(tempfile.gettempdir()) / name
    return short if _fits(short) else Path("/tmp") / name  # noqa: S108 - checked by its caller


def _fits(folder: Path) -> bool:
    path = os.fsencode(folder / SOCKET_NAME)
    return len(path) <= _SOCKET_PATH_MAX_BYTES and not _UNFIT & set(str(folder))


def give_to(folder: Path, account: Account) -> None:
    """Make the account the owner of a folder and of all that is in it."""
    uid, gid = account.file_owner
    os.chown(folder, uid, gid)
    for path in folder.rglob("*"):
        os.chown(path, uid, gid, follow_symlinks=False)


def reachable_data_dir(settings: Settings) -> Settings:
    """Move the default DATA_DIR of root to where the account that runs PostgreSQL can reach it."""
    if "data_dir" in settings.model_fields_set or os.geteuid() != 0:
        return settings
    cluster = cluster_dir(settings.data_dir)
    if cluster.exists():
        return settings
    if cluster_dir(SYSTEM_DATA_DIR).exists() or choose_account(cluster).closed_folder(cluster):
        return settings.model_copy(update={"data_dir": SYSTEM_DATA_DIR})
    return settings


def cluster_dir(data_dir: Path) -> Path:
    """Return the folder that PostgreSQL keeps its data in."""
    return data_dir / "postgresql"
