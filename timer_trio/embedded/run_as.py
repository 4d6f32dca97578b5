"""Becomes a program of PostgreSQL: gives up root, ties its life to the parent's, and executes it.

Run as a script of the standard library alone, `run_as.py PARENT ACCOUNT [PROGRAM ARGUMENT...]`,
because between fork and exec of a process with threads hardly anything is safe. ACCOUNT is `own`,
`unprivileged:UID:GID`, or `namespace:UID:GID`: a user namespace where root bears that number.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def main(parent: str, account: str, *command: str) -> None:
    _become(account)
    # After the change of account, which would clear it.
    _end_with(int(parent))
    if command:
        os.execv(command[0], command)  # noqa: S606 - there is no shell to want


def _become(account: str) -> None:
    kind, _, numbers = account.partition(":")
    if kind == "own":
        return
    uid, gid = map(int, numbers.split(":"))
    if kind == "namespace":
        _enter_namespace(uid, gid)
    else:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _enter_namespace(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    # The kernel takes a group map only from who cannot drop groups any more.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/gid_map", f"{gid} {outer_gid} 1")
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 - the script imports little
        file.write(text)


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent has ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
