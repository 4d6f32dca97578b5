"""What `postmaster.pid` says, and whether to believe it: numbers of dead processes come again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Postmaster:
    pid: int
    socket_dir: Path | None
    is_ready: bool


def read_postmaster(cluster: Path) -> Postmaster | None:
    """Read the file that a server writes while it runs, and may leave behind when it is killed."""
    try:
        lines = (cluster / "postmaster.pid").read_text("utf-8", "surrogateescape").splitlines()
        pid = abs(int(lines[0]))
    except (FileNotFoundError, IndexError, ValueError):
        return None
    # The fifth line is the folder of the socket, the eighth the status.
    socket_dir = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return Postmaster(pid, socket_dir, len(lines) > 7 and lines[7].strip() == "ready")


def live_postmaster(cluster: Path) -> Postmaster | None:
    """Return the server that runs on this cluster, and never a stranger that has its number now."""
    postmaster = read_postmaster(cluster)
    if postmaster and _serves(postmaster.pid, cluster):
        return postmaster
    return None


def names_stranger(cluster: Path) -> bool:
    """Whether the file has the number of a live process that is no server of this cluster."""
    postmaster = read_postmaster(cluster)
    return (
        postmaster is not None
        and _is_alive(postmaster.pid)
        and not _serves(postmaster.pid, cluster)
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _serves(pid: int, cluster: Path) -> bool:
    if sys.platform == "linux":
        return _serves_by_proc(Path(f"/proc/{pid}"), cluster)
    command = subprocess.run(  # noqa: S603 - a number is all that varies
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        check=False,
        text=True,
        errors="surrogateescape",
    ).stdout
    return "postgres" in command and f"-D {cluster} " in command


def _serves_by_proc(process: Path, cluster: Path) -> bool:
    try:
        program = (process / "cmdline").read_bytes().split(b"\0")[0]
        # The same folder, not the same name: a container has its own names.
        return program.endswith(b"/postgres") and (process / "cwd").samefile(cluster)
    except OSError:
        return False
