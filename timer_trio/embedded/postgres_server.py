"""One PostgreSQL server under a DATA_DIR: made, started and stopped."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog
import trio

from timer_trio.embedded.account import Account, choose_account
from timer_trio.embedded.binaries import installed_programs, reachable_programs
from timer_trio.embedded.errors import EmbeddedUnavailableError
from timer_trio.embedded.folders import SYSTEM_DATA_DIR, cluster_dir, make_data_dir, make_socket_dir
from timer_trio.embedded.initdb import DATABASE, SUPERUSER, check_cluster, make_cluster
from timer_trio.embedded.lock import DataDirLock
from timer_trio.embedded.postmaster import live_postmaster, names_stranger, read_postmaster
from timer_trio.embedded.subprocesses import POLL_S, end, exit_code, log_tail

log = structlog.get_logger()

# Beside these, postgresql.conf in the cluster is the operator's.
_SETTINGS: Final = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_checkpoints": "off",
    # Rows and statements hold payloads and headers of consumers, which no log may show.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True, slots=True)
class _Site:
    """All that a server needs to be started."""

    account: Account
    programs: Path
    socket_dir: Path


class PostgresServer:
    """A server of our own, alone on its DATA_DIR, reached by a socket in a private folder.

    It ends with the thread that starts it, so start it in the main thread. `start` and `stop` may
    run in different calls of `trio.run`.
    """

    def __init__(self, data_dir: Path, account: Account | None = None) -> None:
        self._data_dir = data_dir
        self._cluster = cluster_dir(data_dir)
        self._log = data_dir / "postgresql.log"
        self._account = account
        self._lock: DataDirLock | None = None
        self._site: _Site | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> str:
        """Take the lock, end what runs on the cluster, make one if there is none, and start.

        Answers with the URL of the database.

        Raises:
            EmbeddedUnavailableError: it cannot run here; nothing is left running.
        """
        installed = installed_programs()
        try:
            return await self._start(installed)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.stop()
            raise

    async def _start(self, installed: Path) -> str:
        try:
            make_data_dir(self._data_dir)
            self._lock = DataDirLock(self._data_dir)
            self._site = await self._prepare(installed)
            await self.launch()
        except OSError as error:
            words = f"DATA_DIR {self._data_dir} cannot be used: {error}"
            raise EmbeddedUnavailableError(words) from error
        return _url(self._site.socket_dir)

    async def launch(self) -> None:
        """Start the prepared server and wait until it takes connections, however long it recovers.

        Raises:
            EmbeddedUnavailableError: it ended, and the text has its last words.
        """
        self._remove_misleading_pid_file()
        process = self._process = self._spawn()
        while not self._is_ready(process.pid):
            if process.poll() is not None:
                words = log_tail(self._log)
                raise EmbeddedUnavailableError(f"PostgreSQL did not start:\n{words}")
            await trio.sleep(POLL_S)

    async def wait_ended(self) -> int:
        """Wait until the server has ended, and answer with its exit code."""
        if self._process is None:
            raise AssertionError("a server that was never started cannot end")
        return await exit_code(self._process)

    async def stop(self) -> None:
        """End the server and free the lock. Shield it: cut short, it leaves both behind."""
        if (process := self._process) is not None:
            await end(process.pid, lambda: process.poll() is not None)
        if self._site is not None:
            # It may stand in the folder for temporary files.
            with suppress(OSError):
                self._site.socket_dir.rmdir()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _prepare(self, installed: Path) -> _Site:
        account = self._account or choose_account(self._cluster)
        if closed := account.closed_folder(self._cluster):
            raise EmbeddedUnavailableError(
                f"PostgreSQL refuses to run as root, and the account that runs it instead cannot"
                f" enter {closed}: choose a DATA_DIR that it can reach, such as {SYSTEM_DATA_DIR}"
            )
        await self._end_predecessor()
        self._keep_last_log()
        programs = reachable_programs(installed, account, self._data_dir)
        if self._cluster.exists():
            check_cluster(self._cluster, account)
        else:
            await make_cluster(self._cluster, programs, account, self._log)
        return _Site(account, programs, make_socket_dir(self._data_dir, account))

    async def _end_predecessor(self) -> None:
        """End the server of a service that was killed."""
        if postmaster := live_postmaster(self._cluster):
            log.warning("left_postgresql_ended", pid=postmaster.pid)
            await end(postmaster.pid, lambda: live_postmaster(self._cluster) is None)

    def _remove_misleading_pid_file(self) -> None:
        # PostgreSQL takes any live process of its account for a server, whatever it really is.
        if names_stranger(self._cluster):
            (self._cluster / "postmaster.pid").unlink()

    def _keep_last_log(self) -> None:
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.1"))
        self._log.touch(0o600)

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._site is None:
            raise AssertionError("a server is prepared before it is launched")
        settings = _SETTINGS | {"unix_socket_directories": str(self._site.socket_dir)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [
            self._site.programs / "postgres",
            "-D",
            str(self._cluster),
            *options,
        ]
        with self._log.open("ab") as output:
            return self._site.account.spawn(command, output)

    def _is_ready(self, pid: int) -> bool:
        postmaster = read_postmaster(self._cluster)
        return postmaster is not None and postmaster.pid == pid and postmaster.is_ready


def running_url(data_dir: Path) -> str | None:
    """Return the URL of the database that a running service keeps in this DATA_DIR."""
    postmaster = live_postmaster(cluster_dir(data_dir))
    return _url(postmaster.socket_dir) if postmaster and postmaster.socket_dir else None


def _url(socket_dir: Path) -> str:
    return (
        f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(bytes(socket_dir), safe='')}&port=5432"
    )
