"""What draws /docs, had from npm by its hash: `python -m tests.renderer 1.76.0` takes it anew."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.node import npm

FOLDER: Final = Path(__file__).parents[1] / "timer_trio" / "api" / "openapi" / "renderer"
ORIGIN: Final = FOLDER / "origin.json"
SCRIPT: Final = FOLDER / "scalar.js.gz"

PACKAGE: Final = "@scalar/api-reference"
MEMBER: Final = "package/dist/browser/standalone.js"


def origin() -> Any:
    """Return what the script that is served was taken from."""
    return json.loads(ORIGIN.read_text())


def packed(version: str) -> bytes:
    """Return the package, from wherever npm's settings say that packages come from."""
    with tempfile.TemporaryDirectory() as folder:
        npm(Path(folder), "pack", "--silent", f"{PACKAGE}@{version}")
        (archive,) = Path(folder).iterdir()
        return archive.read_bytes()


def integrity_of(package: bytes) -> str:
    """Return its hash as npm's lock files write it."""
    return f"sha512-{base64.b64encode(hashlib.sha512(package).digest()).decode()}"


def script_of(package: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        return member.read()


def main(version: str) -> None:
    package = packed(version)
    script = script_of(package)
    told = {
        "package": PACKAGE,
        "version": version,
        "integrity": integrity_of(package),
        "file": MEMBER,
        "sha256": hashlib.sha256(script).hexdigest(),
    }
    ORIGIN.write_text(json.dumps(told, indent=2) + "\n")
    SCRIPT.write_bytes(gzip.compress(script, 9, mtime=0))


if __name__ == "__main__":
    main(sys.argv[1])
