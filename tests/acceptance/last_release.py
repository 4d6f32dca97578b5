"""The source of the last release, as the history of this repository has it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.processes import PROJECT

VERSION: Final = "0.1.0"
COMMIT: Final = "1267b0ccc45a0da495b254543e2726e1d097a180"
# The folder of this process, which is that of the tree, is not looked at.
SERVE: Final = ("-P", "-m", "timer_trio", "serve")


def unpack_last_release(folder: Path) -> str:
    """Put the packages of the last release into a folder, to be named as PYTHONPATH.

    Skips the test where there is no history, as in a source archive or a shallow clone.
    """
    command = ["git", "-C", str(PROJECT), "archive", "--format=tar", COMMIT, "timer_trio", "schema"]
    try:
        archive = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603 - our own words
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"release {VERSION} is not in reach: no git, or no history up to {COMMIT[:7]}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return str(folder)
