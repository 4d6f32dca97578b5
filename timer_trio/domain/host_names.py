"""What may be the name of a host: in lower case, without a dot at its end."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9_-]*")


def is_host(text: str) -> bool:
    """Tell whether a text is a name, or an address in one of the notations of IPv4."""
    return _NAME.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Tell whether a text is a name and no address: its last label is no number of any kind."""
    return is_host(text) and not _NUMBER.fullmatch(text.rpartition(".")[2])
