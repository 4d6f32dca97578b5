"""Prometheus' own tool, and how it comes to be here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

PACKAGE: Final = "prometheus"
ADVICE: Final = (
    "promtool is not on the PATH: install it (Debian: apt install --no-install-recommends "
    "prometheus; elsewhere it is in what Prometheus releases)"
)
INSTALL_S: Final = 170


class NoPromtoolError(Exception):
    """It is not here, and may not be installed; says what a person can do."""


def promtool() -> str:
    """Return the path of promtool; Debian's package is installed first where it may be.

    Raises:
        NoPromtoolError: there is none.
    """
    found = shutil.which("promtool")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = shutil.which("promtool")
    if found is None:
        raise NoPromtoolError(ADVICE)
    return found


def _install() -> None:
    # A service of the package has nothing to start on the machine of a test.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    patient = ["-o", "DPkg::Lock::Timeout=120"]  # another process of the tests may be at it
    install = ["apt-get", "install", "-y", "--no-install-recommends", *patient, PACKAGE]
    for command in (install, ["apt-get", "update"], install):
        done = subprocess.run(  # noqa: S603 - our own words
            command, env=quiet, capture_output=True, check=False, timeout=INSTALL_S
        )
        if command is install and done.returncode == 0:
            return


def run_promtool(*words: str, folder: Path) -> tuple[int, str]:
    """Answer with its exit code, and with what it has said."""
    done = subprocess.run(  # noqa: S603 - our own words
        [promtool(), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr
