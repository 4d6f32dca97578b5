"""The cluster: the folder that PostgreSQL keeps its data in."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from timer_trio.embedded.account import Account
from timer_trio.embedded.binaries import MAJOR
from timer_trio.embedded.errors import EmbeddedUnavailableError
from timer_trio.embedded.folders import give_to
from timer_trio.embedded.subprocesses import end_group, exit_code, log_tail

_HALF_MADE: Final = "postgresql.new-"
SUPERUSER: Final = "timer_trio"
DATABASE: Final = "postgres"

_OTHER_MAJOR: Final = """\
{cluster} was made by PostgreSQL {found}, and this installation carries {carried}. Move the data:
  1. dump it with the programs of PostgreSQL {found}, and stop that server again:
     postgres -D {cluster} -k /tmp -c listen_addresses= &
     pg_dump -h /tmp -U {user} -Fc -f timers.dump {database}
  2. move {cluster} out of the way, then start the service once and stop it
  3. load it with the programs of PostgreSQL {carried}, and stop that server again:
     postgres -D {cluster} -k /tmp -c listen_addresses= &
     pg_restore -h /tmp -U {user} --clean --if-exists -d {database} timers.dump"""


async def make_cluster(cluster: Path, programs: Path, account: Account, log: Path) -> None:
    """Make an empty cluster, whole or not at all."""
    # A new name each time: what a killed service began may not have ended yet.
    for left_over in cluster.parent.glob(f"{_HALF_MADE}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    half_made = Path(tempfile.mkdtemp(prefix=_HALF_MADE, dir=cluster.parent))
    os.chown(half_made, *account.file_owner)
    with log.open("ab") as output:
        process = account.spawn(
            [
                programs / "initdb",
                f"--pgdata={half_made}",
                f"--username={SUPERUSER}",
                "--encoding=UTF8",
                "--locale=C",
                "--data-checksums",
                # The socket stands in a private folder, and there is no other way in.
                "--auth-local=trust",
                "--auth-host=reject",
            ],
            output,
        )
    try:
        code = await exit_code(process)
    finally:
        end_group(process)
    if code != 0:
        raise EmbeddedUnavailableError(f"PostgreSQL made no cluster:\n{log_tail(log)}")
    _put_in_place(half_made, cluster)


def _put_in_place(half_made: Path, cluster: Path) -> None:
    half_made.rename(cluster)
    fd = os.open(cluster.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_cluster(cluster: Path, account: Account) -> None:
    """Refuse what cannot work, and hand a cluster that root made over to `account`.

    Raises:
        EmbeddedUnavailableError: another major version made it.
    """
    found = (cluster / "PG_VERSION").read_text("ascii").strip()
    if found != MAJOR:
        raise EmbeddedUnavailableError(
            _OTHER_MAJOR.format(
                cluster=cluster, found=found, carried=MAJOR, user=SUPERUSER, database=DATABASE
            )
        )
    if cluster.stat().st_uid != account.file_owner[0]:
        give_to(cluster, account)
