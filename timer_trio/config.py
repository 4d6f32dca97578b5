"""The settings: one frozen object, read from variables, checked as a whole."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import platformdirs
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import (
    AfterValidator,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from timer_trio.domain.addresses import LOOPBACK, AllowedDestination
from timer_trio.domain.cells import ALL, Cell, CellMap, read_cell
from timer_trio.domain.errors import TimerTrioError
from timer_trio.domain.host_names import is_name

LogLevel = Literal["trace", "debug", "info", "warn", "error"]
LogFormat = Literal["console", "json"]

PREFIX: Final = "TIMER_TRIO_"
"""Of the variables that are certainly ours: a bare `DATABASE_URL` may be a shop's."""

# Kubernetes tells each pod of a Service that is called timer-trio, in a variable of our name.
_PORT_OF_KUBERNETES: Final = re.compile(r"(?:tcp|udp|sctp)://.*")
# What a header can carry without quoting; 32 characters are too many to guess.
_WITH_UNIT: Final = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)\s?(?P<unit>ms|s)")
_MAX_SECRET: Final = 65_536
_API_KEY: Final = re.compile(r"[!-~]{32,}")
_ROOT_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
# Of what stands between two cells, a semicolon may be in a URL as well.
_NEXT_CELL: Final = re.compile(r"\s*;\s*(?=[0-9]+-[0-9]+=)")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")

OWN_FOLDERS: Final = frozenset(
    {
        *("audit", "clock", "console", "destinations", "docs", "flows", "health", "keys"),
        *("metrics", "openapi.json", "pause", "projects", "replicas", "resume", "schedules"),
        *("signing-secrets", "timers"),
    }
)
"""What paths of the service begin with: a path behind a prefix that began so could be either."""

PLAIN: Final = "plain"
"""In the first place of ENCRYPTION_KEYS: what is new is not encrypted."""
_ENCRYPTION_KEY_BYTES: Final = 32


class StartRefusedError(TimerTrioError):
    """The service cannot start in this environment; the text tells a person what to change."""


class SettingsError(StartRefusedError):
    """Settings are wrong; the text has a line for each and no secret."""


def environment_name(field: str) -> str:
    """Name the variable of a field: without the unit, which the documentation tells.

    `PREFIX` may stand before it, and then it is certainly ours.
    """
    return field.removesuffix("_s").upper()


def _seconds(default: float, low: float, high: float) -> Any:
    allowed = f"seconds from {low:g} to {high:g}"
    return Field(float(default), ge=low, le=high, allow_inf_nan=False, description=allowed)


def _count(default: int, low: int, high: int, unit: str = "") -> Any:
    allowed = f"a whole number {unit}from {low} to {high}"
    return Field(default, ge=low, le=high, description=allowed)


def _database_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if not url.isprintable():
        raise ValueError("it holds a line break or another control character")
    try:
        conninfo_to_dict(url)
    except ProgrammingError:
        # Its text may quote a part of the password.
        raise ValueError("it cannot be read") from None
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("it does not begin with postgresql://")
    return value


class CellUrl(NamedTuple):
    """A cell, and the URL of its database."""

    cell: Cell
    url: SecretStr


def _cells(value: SecretStr) -> SecretStr:
    _read_cells(value)
    return value


def _read_cells(value: SecretStr) -> Sequence[CellUrl]:
    """Read the map of cells; what is raised repeats nothing of a URL."""
    found = [_read_cell(entry) for entry in _NEXT_CELL.split(value.get_secret_value().strip(" ;"))]
    CellMap([each.cell for each in found])
    if len({each.url.get_secret_value() for each in found}) < len(found):
        raise ValueError("two cells have the same database")
    return found


def _read_cell(entry: str) -> CellUrl:
    text, equals, url = entry.partition("=")
    if not equals or "://" in text:
        raise ValueError("each cell is a range of shards, an = and a URL")
    cell = read_cell(text.strip())
    try:
        return CellUrl(cell, _database_url(SecretStr(url.strip())))
    except ValueError as error:
        raise ValueError(f"the URL of {cell}: {error}") from None


def _api_key(value: SecretStr) -> SecretStr:
    if not _API_KEY.fullmatch(value.get_secret_value()):
        raise ValueError("it is too short, or has other characters")
    return value


def _encryption_keys(value: SecretStr) -> SecretStr:
    # No word of what was wrong: it may be a key but for one letter.
    entries = [entry.strip() for entry in value.get_secret_value().split(",")]
    keys = entries[1:] if entries[0] == PLAIN else entries
    if not keys:
        raise ValueError("no key stands in it")
    for place, key in enumerate(keys, 1 + len(entries) - len(keys)):
        if not _is_encryption_key(key):
            raise ValueError(f"number {place} is no such key")
    if len(set(keys)) < len(keys):
        raise ValueError("a key stands in it twice")
    return value


def _is_encryption_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, altchars=b"-_", validate=True)) == _ENCRYPTION_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _in_seconds(value: object) -> object:
    """Read a time with its unit, `10ms` or `2s`; leave everything else to be read as a number."""
    match = _WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    return float(match["number"]) * (0.001 if match["unit"] == "ms" else 1)


Seconds = Annotated[float, BeforeValidator(_in_seconds)]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _root_path(value: str) -> str:
    path = value.rstrip("/")
    if not path:
        return ""
    if "://" in path:
        raise ValueError("it is a whole URL: leave out scheme and host")
    folders = path.split("/")
    if not _ROOT_PATH.fullmatch(path) or {".", ".."} & {*folders}:
        raise ValueError("each part of it is made of letters, digits and . _ ~ -, after a /")
    if folders[1] in OWN_FOLDERS:
        raise ValueError(f"/{folders[1]} is a path of the service itself, so begin with another")
    return path


def _absolute(value: Path) -> Path:
    return value.expanduser().absolute()


def _ca_file(value: Path) -> Path:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(value)
    except ssl.SSLError:
        raise ValueError(f"{value} holds none, or a broken one") from None
    except OSError as error:
        raise ValueError(f"{value} cannot be read: {error.strerror}") from None
    if not context.cert_store_stats()["x509"]:  # revocations load as well
        raise ValueError(f"{value} holds none")
    return value


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(_allowed_destination(entry.strip()) for entry in value.split(",") if entry.strip())


def _header_names(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = [entry.strip() for entry in value.split(",") if entry.strip()]
    if wrong := [name for name in names if not _HEADER_NAME.fullmatch(name)]:
        raise ValueError(f"{wrong[0]!r} is none")
    return tuple(names)


def _allowed_destination(entry: str) -> AllowedDestination:
    with suppress(ValueError):
        return ip_network(entry)
    name = entry.lower().removesuffix(".")
    if not is_name(name):
        raise ValueError(_why_neither(entry))
    return name


def _why_neither(entry: str) -> str:
    with suppress(ValueError):
        return (
            f"{entry!r} names a host in a network: did you mean {ip_network(entry, strict=False)}"
        )
    if "*" in entry:
        return f"{entry!r} has a wildcard: name each host, or the network"
    return f"{entry!r} is neither"


class Settings(BaseModel, frozen=True):
    """What the operator chose. A field ending in `_s` is in seconds; no repr shows a secret."""

    model_config = ConfigDict(
        extra="ignore",
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=environment_name),
        validate_by_name=True,
        validate_by_alias=True,
    )

    database_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        default=None, description="a URL such as postgresql://user:password@host:5432/name"
    )
    listen_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        default=None, description="a URL such as postgresql://user:password@host:5432/name"
    )
    cells: Annotated[SecretStr, AfterValidator(_cells)] | None = Field(
        default=None,
        description="ranges of shards that follow one another from 0 to 255, each with the URL of"
        " its database, such as 0-127=postgresql://a/timers;128-255=postgresql://b/timers",
    )
    api_key: Annotated[SecretStr, AfterValidator(_api_key)] | None = Field(
        default=None, description="at least 32 letters, digits or signs, without spaces"
    )
    encryption_keys: Annotated[SecretStr, AfterValidator(_encryption_keys)] | None = Field(
        default=None,
        description="Fernet keys, separated by commas: 32 bytes each, in URL-safe base64; the first"
        f" writes, or none does if it is the word {PLAIN}; all read",
    )
    sensitive_headers: Annotated[tuple[str, ...], BeforeValidator(_header_names)] = Field(
        default=(), description="names of headers, separated by commas, such as X-Token,X-Secret"
    )
    host: str = Field(
        default="127.0.0.1",
        pattern=r"^[0-9A-Za-z_.:%-]{1,253}$",
        description="the address or name to listen on, such as 127.0.0.1, 0.0.0.0 or ::",
    )
    port: int = _count(8080, 0, 65535)
    root_path: Annotated[str, Field(max_length=256), AfterValidator(_root_path)] = Field(
        default="", description="the path under which a proxy has the service, such as /timer-trio"
    )
    keep_alive_s: Seconds = _seconds(75, 1, 3600)
    max_connections: int = _count(4096, 1, 65_536)
    max_connections_per_address: int | None = Field(
        default=None, ge=1, le=65_536, description="a whole number from 1 to 65536"
    )
    workers: int = _count(1, 1, 64, "of processes ")
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = Field(
        default="info", description="trace, debug, info, warn or error"
    )
    log_format: Annotated[LogFormat, BeforeValidator(_lower)] | None = Field(
        default=None, description="console or json"
    )
    data_dir: Annotated[Path, AfterValidator(_absolute)] = Field(
        default_factory=lambda: platformdirs.user_data_path("timer-trio", appauthor=False),
        description="the path of a folder",
    )
    callback_allow: Annotated[tuple[AllowedDestination, ...], BeforeValidator(_split)] = Field(
        default=(),
        description="networks or host names, separated by commas,"
        " such as 10.0.0.0/8,hooks.internal",
    )
    callback_ca_file: (
        Annotated[Path, AfterValidator(_absolute), AfterValidator(_ca_file)] | None
    ) = Field(default=None, description="the path of a file with certificates in PEM form")
    console: bool = Field(default=True, description="on or off")
    tracing: bool = Field(default=False, description="on or off")
    start_paused: bool = Field(default=False, description="true or false")
    loader_interval_s: Seconds = _seconds(30, 0.1, 3600)
    cache_window_s: Seconds = _seconds(300, 1, 86_400)
    cache_max_timers: int = _count(200_000, 1000, 10_000_000)
    claim_ahead_s: Seconds = _seconds(0.1, 0.001, 10)
    claim_reach_s: Seconds = _seconds(0.2, 0.001, 10)
    fire_together_s: Seconds = _seconds(0, 0, 0.05)
    misfire_grace_s: Seconds = _seconds(300, 1, 315_360_000)
    callback_timeout_s: Seconds = _seconds(30, 0.1, 300)
    max_in_flight: int = _count(1000, 1, 10_000)
    max_in_flight_per_destination: int = _count(100, 1, 10_000)
    shutdown_grace_s: Seconds = _seconds(30, 0, 3600)
    retention_days: float | None = Field(
        default=None,
        ge=0.01,
        le=36_500,
        allow_inf_nan=False,
        description="days from 0.01 to 36500",
    )
    attempt_retention_days: float = Field(
        default=30.0, ge=1, le=36_500, allow_inf_nan=False, description="days from 1 to 36500"
    )
    audit_days: float = Field(
        default=30.0, ge=0, le=36_500, allow_inf_nan=False, description="days from 0 to 36500"
    )
    response_body_bytes: int = _count(4096, 0, 32_768, "of bytes ")
    max_body_bytes: int = _count(262_144, 1024, 8_388_608, "of bytes ")
    max_metadata_keys: int = _count(64, 1, 10_000)
    database_pool_size: int = _count(10, 1, 1000)

    @property
    def databases(self) -> Sequence[CellUrl]:
        """The databases of all cells; none: the service runs one of its own."""
        if self.cells is not None:
            return _read_cells(self.cells)
        return [] if self.database_url is None else [CellUrl(ALL, self.database_url)]

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        broken = [rule for rule in _RULES if not rule.holds(self)]
        if broken:
            raise _BrokenRulesError(broken)
        return self


@dataclass(frozen=True, slots=True)
class _Rule:
    """What several settings must keep together; `text` has their names in braces."""

    names: frozenset[str]
    holds: Callable[[Settings], bool]
    text: str


_RULES: Final = (
    _Rule(
        frozenset({"DATABASE_URL", "API_KEY"}),
        lambda settings: settings.database_url is None or settings.api_key is not None,
        "{API_KEY} is required with {DATABASE_URL}: at least 32 letters, digits or signs",
    ),
    _Rule(
        frozenset({"CELLS", "API_KEY"}),
        lambda settings: settings.cells is None or settings.api_key is not None,
        "{API_KEY} is required with {CELLS}: at least 32 letters, digits or signs",
    ),
    _Rule(
        frozenset({"CELLS", "DATABASE_URL"}),
        lambda settings: settings.cells is None or settings.database_url is None,
        "{CELLS} and {DATABASE_URL} cannot stand side by side: the cells are all databases",
    ),
    _Rule(
        frozenset({"CELLS", "LISTEN_URL"}),
        lambda settings: settings.cells is None or settings.listen_url is None,
        "{LISTEN_URL} is of one database, and cannot stand beside {CELLS}",
    ),
    _Rule(
        frozenset({"LISTEN_URL", "DATABASE_URL"}),
        lambda settings: settings.listen_url is None or settings.database_url is not None,
        "{LISTEN_URL} is of use only beside a {DATABASE_URL}",
    ),
    _Rule(
        frozenset({"CLAIM_REACH", "CLAIM_AHEAD"}),
        lambda settings: settings.claim_reach_s >= settings.claim_ahead_s,
        "{CLAIM_REACH} must be at least {CLAIM_AHEAD}",
    ),
    _Rule(
        frozenset({"CACHE_WINDOW", "LOADER_INTERVAL"}),
        lambda settings: settings.cache_window_s >= 2 * settings.loader_interval_s,
        "{CACHE_WINDOW} must be at least twice {LOADER_INTERVAL}",
    ),
    _Rule(
        frozenset({"MAX_IN_FLIGHT_PER_DESTINATION", "MAX_IN_FLIGHT"}),
        lambda settings: settings.max_in_flight_per_destination <= settings.max_in_flight,
        "{MAX_IN_FLIGHT_PER_DESTINATION} must be at most {MAX_IN_FLIGHT}",
    ),
    _Rule(
        frozenset({"MAX_CONNECTIONS_PER_ADDRESS", "MAX_CONNECTIONS"}),
        lambda settings: (settings.max_connections_per_address or 1) <= settings.max_connections,
        "MAX_CONNECTIONS_PER_ADDRESS must be at most MAX_CONNECTIONS",
    ),
)


SECRETS: Final = ("DATABASE_URL", "LISTEN_URL", "CELLS", "API_KEY", "ENCRYPTION_KEYS")
"""Settings that may stand in files of their own."""
FILE: Final = "_FILE"


class _BrokenRulesError(ValueError):
    def __init__(self, rules: list[_Rule]) -> None:
        super().__init__("; ".join(rule.text for rule in rules))
        self.rules = rules


def load_settings(
    environ: Mapping[str, str], from_file: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """Read the settings. An empty value counts as unset.

    A name with `PREFIX` wins over the bare one, and for each of the two the environment over the
    file. A secret may stand in a file of its own, which a name that ends in `_FILE` leads to.

    Raises:
        SettingsError: names all that are wrong at once, as they are written, with what is allowed.
    """
    written = _written_names(_with_secrets({**from_file, **environ}))
    values = {name: value for name, (_, value) in written.items()}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = _problems(values, error)
    names = {name: as_written for name, (as_written, _) in written.items()}
    raise SettingsError("\n".join(_with_names(problem, names) for problem in problems))


def _written_names(given: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Find each setting that is given: under which name, and its value."""
    found = {}
    for name in map(environment_name, Settings.model_fields):
        for as_written in _spellings(name):
            value = given.get(as_written, "")
            if value and not _is_of_kubernetes(as_written, value):
                found[name] = as_written, value
                break
    return found


def _spellings(name: str) -> Iterator[str]:
    for spelling in (PREFIX + name, name):
        yield spelling
        if name in SECRETS:
            yield spelling + FILE


def _with_secrets(given: Mapping[str, str]) -> Mapping[str, str]:
    """Put what the files of secrets hold in place of their paths.

    Raises:
        SettingsError: naming all that cannot be read, or stand beside the secret itself.
    """
    read: dict[str, str] = {}
    problems: list[str] = []
    for name in SECRETS:
        ours = any(given.get(PREFIX + spelling) for spelling in (name, name + FILE))
        spelling = PREFIX + name if ours else name  # the bare one may be somebody else's
        path = given.get(spelling + FILE, "")
        if path and given.get(spelling):
            problems.append(f"{spelling} and {spelling}{FILE} are both set: keep one of them")
        elif path:
            try:
                read[spelling + FILE] = _secret_in(path)
            except ValueError as error:
                problems.append(f"{spelling}{FILE} must name a file with the secret: {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return {**given, **read}


def _secret_in(path: str) -> str:
    """Read a secret; a line break at its end is the editor's.

    Raises:
        ValueError: there is none, and why; the text holds nothing of the file.
    """
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            text = file.read(_MAX_SECRET + 1)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such path"
        raise ValueError(f"{path} cannot be read: {reason}") from None
    if len(text) > _MAX_SECRET:
        raise ValueError(f"{path} is too long for one")
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError(f"{path} is empty")
    return secret


def _is_of_kubernetes(as_written: str, value: str) -> bool:
    return as_written == f"{PREFIX}PORT" and bool(_PORT_OF_KUBERNETES.fullmatch(value))


def for_development(settings: Settings) -> Settings:
    """Admit callbacks to this machine, unless the operator has said where they may go."""
    if settings.callback_allow:
        return settings
    return settings.model_copy(update={"callback_allow": LOOPBACK})


def environment_of(settings: Settings) -> dict[str, str]:
    """Write the settings as the variables that `load_settings` reads as the same settings.

    They win over whatever else is in the environment.
    """
    written = {
        PREFIX + environment_name(field): _written(getattr(settings, field))
        for field in Settings.model_fields
    }
    return {**dict.fromkeys((PREFIX + name + FILE for name in SECRETS), ""), **written}


def _written(value: object) -> str:
    match value:
        case None:
            return ""  # counts as unset
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is wrong with which settings; their names stand in braces in `text`."""

    names: frozenset[str]
    text: str
    reason: str = ""


def _with_names(problem: _Problem, names: Mapping[str, str]) -> str:
    """Word a problem with the names as they are written; one that is not set is named alike."""
    given = [names[name] for name in problem.names if name in names]
    prefix = PREFIX if any(name.startswith(PREFIX) for name in given) else ""
    shown = {name: names.get(name, prefix + name) for name in problem.names}
    return problem.text.format_map(shown) + problem.reason


def _problems(values: Mapping[str, str], error: ValidationError) -> list[_Problem]:
    wrong = {str(details["loc"][0]): details for details in error.errors() if details["loc"]}
    usable = {name: value for name, value in values.items() if name not in wrong}
    broken = [rule for rule in _broken_rules(usable) if not rule.names & wrong.keys()]
    return [*_wrong_values(wrong), *(_Problem(rule.names, rule.text) for rule in broken)]


def _wrong_values(wrong: Mapping[str, ErrorDetails]) -> Iterator[_Problem]:
    for field, info in Settings.model_fields.items():
        name = environment_name(field)
        if details := wrong.get(name):
            reason = details.get("ctx", {}).get("error")
            text = f"{{{name}}} must be {info.description}"
            yield _Problem(frozenset({name}), text, f": {reason}" if reason else "")


def _broken_rules(values: Mapping[str, str]) -> list[_Rule]:
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        (details,) = error.errors()
        broken = details["ctx"]["error"]
        if not isinstance(broken, _BrokenRulesError):
            raise
        return broken.rules
    return []
