"""Programs that tests need and Debian has.

`python -m tests.debian` installs those that are missing, as `make test` does first. Where that
cannot be, as on another system or for another user than root, tests that need one are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

import pytest

PACKAGES: Final[Mapping[str, str]] = {
    "chromium": "chromium",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
}
_SYSTEM: Final = "/usr/sbin:/sbin"
"""Where Debian has what is for administrators."""
_APT: Final = ("apt-get", "--quiet", "--yes", "-o", "DPkg::Lock::Timeout=300")
# A service of a package has nothing to start on the machine of a test.
_BESIDE: Final = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "RUNLEVEL": "1"}
_PATIENCE_S: Final = 300


def path_of(name: str) -> str | None:
    """Return where a program is; None: it is not here."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), _SYSTEM)))


def program(name: str) -> str:
    """Return where a program is; a test that needs one which is not here is skipped."""
    if found := path_of(name):
        return found
    package = PACKAGES.get(name, name)
    pytest.skip(f"this test needs {name}: install it (Debian: apt-get install {package})")


def install_missing() -> str:
    """Install what is missing, if this user may; returns why something still is, or nothing."""
    missing = [name for name in PACKAGES if path_of(name) is None]
    if not missing:
        return ""
    packages = [PACKAGES[name] for name in missing]
    words = f"some tests are skipped; install what they need: {' '.join(packages)}"
    if os.geteuid() or not shutil.which(_APT[0]):
        return words
    print(f"Installing {', '.join(packages)} ...", flush=True)  # noqa: T201 - it takes a while
    for step in (("update",), ("install", "--no-install-recommends", *packages)):
        try:
            done = subprocess.run(  # noqa: S603 - the words are ours
                [*_APT, *step],
                check=False,
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                env={**os.environ, **_BESIDE},
            )
        except subprocess.TimeoutExpired:
            return f"{words}. apt-get took too long"
        if done.returncode:
            return f"{words}. {done.stderr[-1000:]}"
    return ""


if __name__ == "__main__":
    if why := install_missing():
        print(why)  # noqa: T201 - for whoever runs the tests
