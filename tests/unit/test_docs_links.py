"""Where links lead that `make docs` does not look after: to files that are no pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

PROJECT: Final = Path(__file__).parents[2]
DOCS: Final = PROJECT / "docs"
ABOVE: Final = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
PAGES: Final = [*ABOVE, *(path.relative_to(PROJECT).as_posix() for path in DOCS.rglob("*.md"))]
FENCED: Final = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def links_of(path: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", path.read_text()))
    return [link for link in found if "://" not in link and not link.startswith("#")]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_links_name_are_there(page: str) -> None:
    path = PROJECT / page
    missing = [link for link in links_of(path) if not (path.parent / link.split("#")[0]).exists()]
    assert missing == []


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((DOCS / "site" / "mkdocs.yml").read_text())
    named: list[str] = []
    for entry in settings["nav"]:
        named += [entry] if isinstance(entry, str) else next(iter(entry.values()))
    assert sorted(named) == sorted(PAGES)
