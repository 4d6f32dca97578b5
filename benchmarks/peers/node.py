"""The peers' packages and the Node that runs them, installed from their lock file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.programs import BenchmarkError

PEERS: Final = Path(__file__).parent
INSTALL_S: Final = 300.0

_LOCK: Final = PEERS / "package-lock.json"
_MODULES: Final = PEERS / "node_modules"
_INSTALLED_LOCK: Final = _MODULES / _LOCK.name


def installed_node() -> Path:
    """Return the Node that runs the peers; all is installed anew when the lock file has changed.

    Raises:
        BenchmarkError: npm is missing, it failed, or it has no such Node for this machine.
    """
    if not _is_current():
        _install()
        # Copied last, so that an install which was broken off does not count.
        shutil.copy(_LOCK, _INSTALLED_LOCK)
    node = next(_MODULES.glob("node-linux-*/bin/node"), None)
    if node is None:
        raise BenchmarkError("among the peers' packages is no Node for this machine")
    return node


def _is_current() -> bool:
    return _INSTALLED_LOCK.exists() and _INSTALLED_LOCK.read_bytes() == _LOCK.read_bytes()


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise BenchmarkError("npm, which installs the peers, is not on the PATH")
    command = (npm, "ci", "--loglevel=error")
    try:
        subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=PEERS, check=True, capture_output=True, text=True, timeout=INSTALL_S
        )
    except subprocess.CalledProcessError as error:
        words = " | ".join(error.stderr.strip().splitlines()[-3:])
        raise BenchmarkError(f"npm could not install the peers: {words}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"npm did not install the peers within {INSTALL_S:g}s") from error
