"""The key of a service that runs its own database: made once, kept beside the data."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from timer_trio.embedded.errors import EmbeddedUnavailableError


def kept_api_key(data_dir: Path) -> SecretStr:
    """Read the key in DATA_DIR, or make it; many at once get the same.

    Raises:
        EmbeddedUnavailableError: it can be neither read nor written.
    """
    path = data_dir / "api_key"
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise EmbeddedUnavailableError(f"the API key cannot be kept in {path}: {error}") from None
    return read_api_key(data_dir)


def read_api_key(data_dir: Path) -> SecretStr:
    """Read the key in DATA_DIR.

    Raises:
        EmbeddedUnavailableError: it cannot be read.
    """
    path = data_dir / "api_key"
    try:
        key = path.read_text("ascii").strip()
    except FileNotFoundError:
        words = f"API_KEY is not set, and no service has made a key in {path} yet"
        raise EmbeddedUnavailableError(words) from None
    except (OSError, UnicodeDecodeError) as error:
        raise EmbeddedUnavailableError(f"the API key cannot be read in {path}: {error}") from None
    if len(key) < 32:
        raise EmbeddedUnavailableError(f"{path} holds no key: remove it, and a new one is made")
    return SecretStr(key)


def _make(path: Path) -> None:
    draft = path.with_name(f".api_key-{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # Unlike a rename, a link never replaces what another process has put there.
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
