from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import certifi
import pytest
import trustme
from pydantic import ValidationError

from timer_trio.config import (
    Settings,
    SettingsError,
    environment_name,
    environment_of,
    for_development,
    load_settings,
)

KEY = "k3y-" * 8
ENCRYPTION_KEY = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0="
OTHER_KEY = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0="
URL = "postgresql://user:pa55word@db.internal:5432/timers"


REVOCATIONS = b"""\
-----BEGIN X509 CRL-----
MIGGMC8CAQEwCgYIKoZIzj0EAwIwABcNMjYwMTAxMDAwMDAwWhcNMjYwMTAyMDAw
MDAwWjAKBggqhkjOPQQDAgNHADBEAiBQy3h6mEB5sCL+ZQ4+24qsEIn3vpmtHVyD
fSkNLYtmfwIgJHUW07zc2TtNTx73Z8HklZSilSz1UeonqcakYaSe5ko=
-----END X509 CRL-----
"""
BROKEN = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def refusal(environ: dict[str, str], from_file: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, from_file or {})
    return str(caught.value)


def test_empty_environment_has_the_documented_defaults() -> None:
    settings = load_settings({})
    assert settings.database_url is None
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8080, 1)
    assert (settings.loader_interval_s, settings.cache_window_s) == (30, 300)
    assert (settings.claim_ahead_s, settings.claim_reach_s) == (0.1, 0.2)
    assert (settings.keep_alive_s, settings.max_connections) == (75, 4096)
    assert settings.max_connections_per_address is None
    assert settings.retention_days is None
    assert settings.max_metadata_keys == 64
    assert settings.data_dir.is_absolute()


def test_variable_carries_no_unit() -> None:
    assert environment_name("claim_ahead_s") == "CLAIM_AHEAD"
    assert environment_name("max_body_bytes") == "MAX_BODY_BYTES"
    assert load_settings({"CLAIM_AHEAD": "0.05"}).claim_ahead_s == 0.05


def test_empty_value_counts_as_unset() -> None:
    assert load_settings({"DATABASE_URL": "", "PORT": ""}) == load_settings({})


def test_unknown_variables_are_ignored() -> None:
    from_file = {"POSTGRES_PASSWORD": "x", "TIMER_TRIO_URL": "http://timers:8080"}
    assert load_settings({"EDITOR": "vi"}, from_file) == load_settings({})


def test_environment_wins_over_the_file() -> None:
    settings = load_settings({"PORT": "2000"}, {"PORT": "1000", "HOST": "::1"})
    assert (settings.port, settings.host) == (2000, "::1")
    assert load_settings({"PORT": ""}, {"PORT": "1000"}) == load_settings({})


UNSET = {
    "CALLBACK_ALLOW": "::1",
    "CALLBACK_CA_FILE": certifi.where(),
    "CELLS": f"0-255={URL}",
    "ENCRYPTION_KEYS": ENCRYPTION_KEY,
    "SENSITIVE_HEADERS": "X-Token",
    "LISTEN_URL": URL,
    "LOG_FORMAT": "json",
    "MAX_CONNECTIONS_PER_ADDRESS": "9",
    "RETENTION_DAYS": "7",
    "ROOT_PATH": "/timer-trio",
}


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_has_a_name_that_is_certainly_ours_and_wins(field: str) -> None:
    name, with_database = environment_name(field), {"DATABASE_URL": URL, "API_KEY": KEY}
    if name == "CELLS":  # they stand in its place
        del with_database["DATABASE_URL"]
    defaults = environment_of(load_settings(with_database))
    value = defaults[f"TIMER_TRIO_{name}"] or UNSET[name]
    bare = load_settings({**with_database, name: value})
    wrong_bare = {**with_database, name: "\0"}
    assert load_settings({**wrong_bare, f"TIMER_TRIO_{name}": value}) == bare


@pytest.mark.parametrize(
    ("environ", "from_file", "port"),
    [
        ({"TIMER_TRIO_PORT": "1", "PORT": "2"}, {}, 1),
        ({"PORT": "2"}, {"TIMER_TRIO_PORT": "1"}, 1),
        ({"TIMER_TRIO_PORT": "1"}, {"TIMER_TRIO_PORT": "2"}, 1),
        ({"TIMER_TRIO_PORT": "", "PORT": "2"}, {}, 2),
        ({"TIMER_TRIO_PORT": "tcp://10.96.0.7:8080", "PORT": "2"}, {}, 2),
        ({"TIMER_TRIO_PORT": "tcp://10.96.0.7:8080"}, {}, 8080),
    ],
)
def test_which_name_wins(environ: dict[str, str], from_file: dict[str, str], port: int) -> None:
    assert load_settings(environ, from_file).port == port


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"TIMER_TRIO_PORT": "x"}, "TIMER_TRIO_PORT must be a whole number"),
        ({"PORT": "x"}, "PORT must be a whole number"),
        ({"TIMER_TRIO_PORT": "tcp:x"}, "TIMER_TRIO_PORT must be a whole number"),
        (
            {"TIMER_TRIO_DATABASE_URL": URL},
            "TIMER_TRIO_API_KEY is required with TIMER_TRIO_DATABASE_URL",
        ),
        (
            {"TIMER_TRIO_CLAIM_AHEAD": "0.3", "CLAIM_REACH": "0.2"},
            "CLAIM_REACH must be at least TIMER_TRIO_CLAIM_AHEAD",
        ),
    ],
)
def test_variable_is_named_as_it_is_written(environ: dict[str, str], text: str) -> None:
    assert refusal(environ).startswith(text)
    assert refusal({}, environ).startswith(text)


WRONG = [
    ("DATABASE_URL", "mysql://localhost/timers"),
    ("DATABASE_URL", "host=localhost dbname=timers"),
    ("DATABASE_URL", "postgresql://user@host/timers\n"),
    ("DATABASE_URL", "postgresql://user@host/tim\x1bers"),
    ("DATABASE_URL", "postgresql://user:pa%zzword@host/timers"),
    ("API_KEY", "k" * 31),
    ("API_KEY", "k" * 40 + " k"),
    ("API_KEY", "ü" * 40),
    ("ENCRYPTION_KEYS", "plain"),
    ("ENCRYPTION_KEYS", ","),
    ("ENCRYPTION_KEYS", "s3cret"),
    ("ENCRYPTION_KEYS", ENCRYPTION_KEY[:-1]),
    ("ENCRYPTION_KEYS", f"{ENCRYPTION_KEY}="),
    ("ENCRYPTION_KEYS", f"AAAA{ENCRYPTION_KEY}"),
    ("ENCRYPTION_KEYS", f"{ENCRYPTION_KEY},"),
    ("ENCRYPTION_KEYS", f"{ENCRYPTION_KEY},plain"),
    ("ENCRYPTION_KEYS", f"{ENCRYPTION_KEY} {OTHER_KEY}"),
    ("ENCRYPTION_KEYS", f"{ENCRYPTION_KEY},{OTHER_KEY},{ENCRYPTION_KEY}"),
    ("ENCRYPTION_KEYS", "ü" * 44),
    ("SENSITIVE_HEADERS", "X-Token: x"),
    ("SENSITIVE_HEADERS", "X-Token,X Secret"),
    ("HOST", "a host"),
    ("PORT", "65536"),
    ("PORT", "80.5"),
    ("KEEP_ALIVE", "0"),
    ("MAX_CONNECTIONS", "0"),
    ("MAX_CONNECTIONS_PER_ADDRESS", "65537"),
    ("WORKERS", "0"),
    ("WORKERS", "65"),
    ("WORKERS", "1.5"),
    ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"),
    ("CALLBACK_ALLOW", "10.0.0.0/33"),
    ("CALLBACK_ALLOW", "10.1.0.0/8"),
    ("CALLBACK_ALLOW", "300.1.1.1"),
    ("CALLBACK_ALLOW", "0x7f000001"),
    ("CALLBACK_ALLOW", "127.0x1"),
    ("CALLBACK_ALLOW", "*.example.com"),
    ("CALLBACK_ALLOW", "hooks.internal,http://x"),
    ("LOADER_INTERVAL", "0"),
    ("CACHE_WINDOW", "nan"),
    ("CACHE_MAX_TIMERS", "1"),
    ("CLAIM_AHEAD", "-1"),
    ("CLAIM_REACH", "1e9"),
    ("CONSOLE", "maybe"),
    ("START_PAUSED", "paused"),
    ("MISFIRE_GRACE", "inf"),
    ("CALLBACK_TIMEOUT", "5 minutes"),
    ("MAX_IN_FLIGHT", "0"),
    ("MAX_IN_FLIGHT_PER_DESTINATION", "many"),
    ("SHUTDOWN_GRACE", "-0.1"),
    ("RETENTION_DAYS", "0"),
    ("RETENTION_DAYS", "for ever"),
    ("RETENTION_DAYS", "nan"),
    ("MAX_BODY_BYTES", "1"),
    ("MAX_METADATA_KEYS", "0"),
    ("MAX_METADATA_KEYS", "10001"),
    ("DATABASE_POOL_SIZE", "0"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    key = {} if name == "API_KEY" else {"API_KEY": KEY}
    assert refusal({**key, name: value}).startswith(f"{name} must be ")


def test_all_wrong_ones_are_told_at_once() -> None:
    wrong = {"LOG_LEVEL": "loud", "PORT": "x", "CLAIM_REACH": "0.05", "LOADER_INTERVAL": "200"}
    lines = refusal(wrong).splitlines()
    assert [line.split()[0] for line in lines] == [
        "PORT",
        "LOG_LEVEL",
        "CLAIM_REACH",
        "CACHE_WINDOW",
    ]
    assert "from 0 to 65535" in lines[0]


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"DATABASE_URL": URL}, "API_KEY is required"),
        ({"CLAIM_AHEAD": "0.3"}, "CLAIM_REACH must be at least CLAIM_AHEAD"),
        ({"CACHE_WINDOW": "59"}, "CACHE_WINDOW must be at least twice LOADER_INTERVAL"),
        ({"MAX_IN_FLIGHT": "99"}, "MAX_IN_FLIGHT_PER_DESTINATION must be at most"),
        (
            {"MAX_CONNECTIONS": "9", "MAX_CONNECTIONS_PER_ADDRESS": "10"},
            "MAX_CONNECTIONS_PER_ADDRESS must be at most MAX_CONNECTIONS",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    environ: dict[str, str], text: str
) -> None:
    assert text in refusal(environ)


def test_rule_keeps_quiet_about_a_value_that_is_wrong_itself() -> None:
    assert refusal({"CLAIM_AHEAD": "x", "CLAIM_REACH": "0.001"}).count("\n") == 0
    assert "required" not in refusal({"DATABASE_URL": URL, "API_KEY": "short"})


def test_no_text_shows_a_secret() -> None:
    settings = load_settings({"DATABASE_URL": URL, "API_KEY": KEY})
    assert "pa55word" not in repr(settings) + str(settings)
    assert KEY not in repr(settings) + str(settings)
    broken = {"DATABASE_URL": URL.replace("pa55", "pa55%zz"), "API_KEY": "s3cret", "PORT": "x"}
    assert not {"pa55", "s3cret"} & set(refusal(broken).replace(":", " ").split())
    assert "pa55" not in refusal(broken)
    assert "s3cret" not in refusal(broken)
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(broken)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("place", [1, 2])
def test_encryption_key_that_is_wrong_is_named_by_its_place(place: int) -> None:
    keys = [ENCRYPTION_KEY, OTHER_KEY]
    keys[place - 1] = wrong = keys[place - 1][:-2] + "!="
    words = refusal({"ENCRYPTION_KEYS": ",".join(keys)})
    assert words.endswith(f": number {place} is no such key")
    assert not any(key in words for key in (ENCRYPTION_KEY, OTHER_KEY, wrong))
    settings = load_settings({"ENCRYPTION_KEYS": f" plain, {ENCRYPTION_KEY} ,{OTHER_KEY}"})
    assert ENCRYPTION_KEY not in repr(settings) + str(settings)


def test_sensitive_headers_are_names() -> None:
    settings = load_settings({"SENSITIVE_HEADERS": " X-Token ,X-Secret,"})
    assert settings.sensitive_headers == ("X-Token", "X-Secret")


@pytest.mark.parametrize(
    ("given", "root_path"),
    [
        ("/timer-trio", "/timer-trio"),
        ("/timer-trio/", "/timer-trio"),
        ("/tools/v1.2/timer_trio~", "/tools/v1.2/timer_trio~"),
        ("/timers2", "/timers2"),
        ("/", ""),
    ],
)
def test_root_path_is_written_with_or_without_a_slash_at_its_end(
    given: str, root_path: str
) -> None:
    assert load_settings({"ROOT_PATH": given}).root_path == root_path


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("timer-trio", "each part of it is made of letters, digits and . _ ~ -"),
        ("/a//b", "each part of it is made of"),
        ("/a/../b", "each part of it is made of"),
        ("/a b", "each part of it is made of"),
        ("/a%20b", "each part of it is made of"),
        ("/a?b", "each part of it is made of"),
        ("https://example.com/a", "it is a whole URL: leave out scheme and host"),
        ("/timers", "/timers is a path of the service itself, so begin with another"),
        ("/health/of/it", "/health is a path of the service itself"),
    ],
)
def test_root_path_that_is_none_is_refused_with_what_to_do(given: str, reason: str) -> None:
    words = refusal({"ROOT_PATH": given})
    assert words.startswith("ROOT_PATH must be the path under which a proxy has the service")
    assert f": {reason}" in words


def test_console_can_be_switched_off() -> None:
    assert load_settings({}).console
    assert not load_settings({"CONSOLE": "off"}).console


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings({}).port = 1  # type: ignore[misc]  # what must fail


def test_callback_allow_takes_networks_and_names() -> None:
    settings = load_settings({"CALLBACK_ALLOW": "10.0.0.0/8, ::1,Hooks.Internal., localhost,"})
    assert settings.callback_allow == (
        ip_network("10.0.0.0/8"),
        ip_network("::1/128"),
        "hooks.internal",
        "localhost",
    )


def test_ca_file_is_the_absolute_path_of_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"CALLBACK_CA_FILE": "ca.pem"})
    assert settings.callback_ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "holds none"),
        (b"no PEM at all", "holds none"),
        (trustme.CA().cert_pem.bytes() + BROKEN, "holds none, or a broken one"),
        (trustme.CA().private_key_pem.bytes(), "holds none"),
        (REVOCATIONS, "holds none"),
    ],
    ids=["missing", "empty", "text", "broken", "key", "revocations"],
)
def test_ca_file_without_a_certificate_is_refused_with_the_other_wrong_settings(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    port, ca_file = refusal({"PORT": "x", "CALLBACK_CA_FILE": str(path)}).splitlines()
    assert port.startswith("PORT must be ")
    assert ca_file.startswith("CALLBACK_CA_FILE must be the path of a file with certificates")
    assert f": {path} {reason}" in ca_file


def test_folder_is_no_ca_file(tmp_path: Path) -> None:
    assert refusal({"CALLBACK_CA_FILE": str(tmp_path)}).endswith("cannot be read: Is a directory")


def test_development_allows_this_machine_unless_told_otherwise() -> None:
    dev = for_development(load_settings({}))
    assert dev.callback_allow == (ip_network("127.0.0.0/8"), ip_network("::1"))
    assert dev.model_copy(update={"callback_allow": ()}) == load_settings({})
    told = load_settings({"CALLBACK_ALLOW": "hooks.internal"})
    assert for_development(told) == told


def test_settings_survive_the_way_through_the_environment(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    given = {
        "DATABASE_URL": URL,
        "API_KEY": KEY,
        "CALLBACK_ALLOW": "10.0.0.0/8,::1,hooks.internal",
        "CALLBACK_CA_FILE": str(tmp_path / "ca.pem"),
        "CLAIM_AHEAD": "0.07",
        "RETENTION_DAYS": "0.5",
        "MAX_CONNECTIONS_PER_ADDRESS": "17",
        "START_PAUSED": "true",
        "WORKERS": "4",
        "ENCRYPTION_KEYS": f"{OTHER_KEY},{ENCRYPTION_KEY}",
        "SENSITIVE_HEADERS": "X-Token,X-Secret",
        "ROOT_PATH": "/timer-trio",
    }
    around = {"PORT": "1", "TIMER_TRIO_PORT": "x", "WORKERS": "0", "TIMER_TRIO_LOG_FORMAT": "xml"}
    for settings in (load_settings({}), for_development(load_settings(given))):
        assert load_settings(around | environment_of(settings)) == settings


def test_fields_can_be_given_by_name() -> None:
    settings = Settings(port=0, claim_ahead_s=0.2, data_dir=Path("here"))
    assert settings.data_dir == Path.cwd() / "here"
    assert settings.claim_ahead_s == 0.2


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("10.0.0.1/8", "did you mean 10.0.0.0/8"),
        ("*.example.com", "name each host"),
        ("300.1.1.1", "'300.1.1.1' is neither"),
    ],
)
def test_entry_of_callback_allow_is_refused_with_what_may_be_meant(entry: str, words: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)):
        load_settings({"CALLBACK_ALLOW": entry})


@pytest.mark.parametrize("prefix", ["", "TIMER_TRIO_"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_secret_may_stand_in_a_file(tmp_path: Path, prefix: str, end: str) -> None:
    secrets = {
        "API_KEY": KEY,
        "DATABASE_URL": URL,
        "LISTEN_URL": f"{URL}2",
        "ENCRYPTION_KEYS": f"{'A' * 43}=",
    }
    environ = {}
    for name, secret in secrets.items():
        (tmp_path / name).write_bytes(f"{secret}{end}".encode())
        environ[f"{prefix}{name}_FILE"] = str(tmp_path / name)
    settings = load_settings({}, environ)
    assert load_settings(environ) == settings
    given = (
        *(settings.api_key, settings.database_url),
        *(settings.listen_url, settings.encryption_keys),
    )
    assert [secret and secret.get_secret_value() for secret in given] == [*secrets.values()]
    assert load_settings(environ | environment_of(settings)) == settings


def test_secret_and_its_file_cannot_both_be_set(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    path = str(tmp_path / "key")
    words = "API_KEY and API_KEY_FILE are both set: keep one of them"
    assert refusal({"API_KEY": KEY, "API_KEY_FILE": path}) == words
    assert refusal({"API_KEY": KEY}, {"API_KEY_FILE": path}) == words
    ours = load_settings({"TIMER_TRIO_API_KEY_FILE": path, "API_KEY": "o" * 32})
    assert ours.api_key is not None
    assert ours.api_key.get_secret_value() == KEY
    # The bare name is somebody else's then, and so is what it leads to.
    load_settings({"TIMER_TRIO_API_KEY": KEY, "API_KEY_FILE": "/nowhere"})
    assert load_settings({"API_KEY_FILE": "", "API_KEY": KEY}).api_key == ours.api_key


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 70_000, "is too long for one"),
    ],
)
def test_file_without_a_secret_is_refused_in_words(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    text = refusal({"API_KEY_FILE": str(path), "DATABASE_URL_FILE": str(path)})
    assert text.splitlines() == [
        f"{name}_FILE must name a file with the secret: {path} {words}"
        for name in ("DATABASE_URL", "API_KEY")
    ]


def test_folder_and_no_path_at_all_hold_no_secret(tmp_path: Path) -> None:
    for path in (str(tmp_path), "a\0b", "~nobody-of-this-name/x"):
        assert "cannot be read: " in refusal({"API_KEY_FILE": path})


def test_wrong_secret_in_a_file_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short5ecret")
    text = refusal({"TIMER_TRIO_API_KEY_FILE": str(tmp_path / "key")})
    assert text.startswith("TIMER_TRIO_API_KEY_FILE must be at least 32 letters")
    assert "5ecret" not in text


def test_cells_are_read_with_their_urls() -> None:
    cells = f" 0-127={URL}a ; 128-255={URL}?options=-c;"
    settings = load_settings({"CELLS": cells, "API_KEY": KEY})
    read = [(str(cell), url.get_secret_value()) for cell, url in settings.databases]
    assert read == [("0-127", f"{URL}a"), ("128-255", f"{URL}?options=-c")]
    assert load_settings(environment_of(settings)) == settings
    assert URL not in repr(settings)


def test_one_database_is_the_only_cell() -> None:
    settings = load_settings({"DATABASE_URL": URL, "API_KEY": KEY})
    assert [(str(cell), url.get_secret_value()) for cell, url in settings.databases] == [
        ("0-255", URL)
    ]
    assert load_settings({}).databases == []


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (URL, "each cell is a range of shards, an = and a URL"),
        (f"0-127={URL}", "the ranges end at 127 and not at 255"),
        (f"0-127={URL}a;129-255={URL}b", "129-255 stands where 128 should begin"),
        (f"0-127={URL}a;128-255={URL}a", "two cells have the same database"),
        (f"0-127={URL}a;128-255=mysql://secret@b", "the URL of 128-255"),
        (f"low={URL}a;128-255={URL}b", "'low' is no range of shards such as 0-127"),
    ],
)
def test_cells_that_cannot_be_are_refused_in_words(cells: str, words: str) -> None:
    told = refusal({"CELLS": cells, "API_KEY": KEY})
    assert told.startswith("CELLS must be ranges of shards")
    assert words in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"API_KEY": ""}, "API_KEY is required with CELLS"),
        ({"DATABASE_URL": URL}, "CELLS and DATABASE_URL cannot stand side by side"),
        ({"LISTEN_URL": URL}, "LISTEN_URL is of one database, and cannot stand beside CELLS"),
    ],
)
def test_cells_stand_in_place_of_one_database(more: dict[str, str], words: str) -> None:
    cells = {"CELLS": f"0-127={URL}a;128-255={URL}b", "API_KEY": KEY}
    assert words in refusal(cells | more)
