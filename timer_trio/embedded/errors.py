from __future__ import annotations

from timer_trio.config import StartRefusedError


class EmbeddedUnavailableError(StartRefusedError):
    """PostgreSQL cannot run here; the text says why and what to do."""


class DataDirHeldError(EmbeddedUnavailableError):
    """Another process works on this DATA_DIR; the text says which."""
