"""libfaketime, fetched without touching the system, and proven to move the wall clock alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio

HOUR_S: Final = 3_600
LIBRARY: Final = "libfaketimeMT.so.1"
APT_S: Final = 60.0
_PROBE: Final = """
import json, time
names = ("REALTIME", "MONOTONIC", "BOOTTIME")
print(json.dumps([time.clock_gettime(getattr(time, f"CLOCK_{name}")) for name in names]))
"""


class NoFaketimeError(Exception):
    """It cannot be had, or does something else than it should."""


async def fetch_library(folder: Path) -> Path:
    """Find the library, or download it into a folder that is there.

    Raises:
        NoFaketimeError: why there is none.
    """
    if installed := _found(Path("/usr")):
        return installed
    try:
        with trio.fail_after(APT_S):
            await _download(folder)
    except (OSError, subprocess.CalledProcessError, trio.TooSlowError) as error:
        raise NoFaketimeError(f"libfaketime cannot be had: {error}") from None
    library = _found(folder / "files" / "usr")
    if library is None:
        raise NoFaketimeError(f"the package libfaketime holds no {LIBRARY}")
    return library


def environ(library: Path, offset: str) -> dict[str, str]:
    """Name what moves a process's wall clock, and leaves its other clocks and its waits alone.

    By a fix for glibc of long ago every timed wait of a thread for another would spin.
    """
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


async def assert_moves_wall_clock_alone(library: Path) -> None:
    """Compare the clocks of a process with and without it.

    Raises:
        NoFaketimeError: another clock moves as well, or none.
    """
    plain = await _clocks({})
    moved = await _clocks(environ(library, "+1h"))
    wall_s, *others_s = (round(after - before) for before, after in zip(plain, moved, strict=True))
    if abs(wall_s - HOUR_S) > HOUR_S / 60:
        raise NoFaketimeError(f"libfaketime moves the wall clock by {wall_s} s")
    if any(abs(moved_s) > HOUR_S / 60 for moved_s in others_s):
        raise NoFaketimeError(f"libfaketime moves CLOCK_MONOTONIC, CLOCK_BOOTTIME by {others_s} s")


async def _clocks(extra: dict[str, str]) -> list[float]:
    done = await trio.run_process(
        [sys.executable, "-c", _PROBE],
        env={"PATH": os.environ["PATH"]} | extra,
        capture_stdout=True,
    )
    return [float(value) for value in json.loads(done.stdout)]


async def _download(folder: Path) -> None:
    try:
        await _run("apt-get", "download", "libfaketime", folder=folder)
    except subprocess.CalledProcessError:
        # There is no list of packages yet: read one into a folder of our own.
        private = [f"-oDir::State={folder}", f"-oDir::Cache={folder}", "-oAPT::Sandbox::User=root"]
        await _run("apt-get", *private, "update", folder=folder)
        await _run("apt-get", *private, "download", "libfaketime", folder=folder)
    await _run("sh", "-c", "dpkg-deb -x libfaketime_*.deb files", folder=folder)


def _found(usr: Path) -> Path | None:
    return next(iter(sorted(usr.glob(f"lib/*/faketime/{LIBRARY}"))), None)


async def _run(*command: str, folder: Path) -> None:
    await trio.run_process(command, cwd=folder, capture_stdout=True, capture_stderr=True)
