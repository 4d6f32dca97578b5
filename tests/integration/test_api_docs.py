"""The page for people, and the script that draws it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import pytest

from tests.api_under_test import ApiUnderTest, running_api
from tests.renderer import SCRIPT, integrity_of, origin, packed, script_of
from timer_trio.api.openapi.docs_page import SCRIPT_PATH


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


def policy_of(header: str) -> dict[str, str]:
    return dict(part.strip().split(" ", 1) for part in header.split(";"))


async def test_the_page_loads_and_calls_nothing_but_the_service(api: ApiUnderTest) -> None:
    answer = await api.client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert policy_of(answer.headers["content-security-policy"]) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'unsafe-inline'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "://" not in answer.text
    assert set(re.findall(r'(?:src|href)="([^"]+)"', answer.text)) == {
        SCRIPT_PATH.removeprefix("/"),
        "openapi.json",
        "data:,",
    }


async def test_the_renderer_is_told_to_keep_to_itself(api: ApiUnderTest) -> None:
    page = (await api.client.get("/docs")).text
    (written,) = re.findall(r'data-configuration="([^"]+)"', page)
    settings = json.loads(unescape(written))
    assert settings["url"] == "openapi.json"
    for name in ("telemetry", "withDefaultFonts", "persistAuth"):
        assert settings[name] is False
    for name in ("agent", "mcp"):
        assert settings[name] == {"disabled": True}


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "*"])
async def test_the_script_is_sent_packed_and_for_good(api: ApiUnderTest, accepted: str) -> None:
    answer = await api.client.get(SCRIPT_PATH, headers={"Accept-Encoding": accepted})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert int(answer.headers["content-length"]) == SCRIPT.stat().st_size < 1_500_000
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["vary"] == "Accept-Encoding"
    assert hashlib.sha256(answer.content).hexdigest() == origin()["sha256"]


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br"])
async def test_the_script_is_unpacked_for_who_cannot(api: ApiUnderTest, accepted: str) -> None:
    answer = await api.client.get(SCRIPT_PATH, headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding"
    assert hashlib.sha256(answer.content).hexdigest() == origin()["sha256"]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", SCRIPT_PATH])
async def test_what_is_known_is_not_sent_again(api: ApiUnderTest, path: str) -> None:
    first = await api.client.get(path)
    known = {"If-None-Match": first.headers["etag"]}
    again = await api.client.get(path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == first.headers["cache-control"]
    other = await api.client.get(path, headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)


async def test_packed_and_unpacked_are_told_apart(api: ApiUnderTest) -> None:
    packed_answer = await api.client.get(SCRIPT_PATH)
    plain = {"Accept-Encoding": "identity", "If-None-Match": packed_answer.headers["etag"]}
    assert (await api.client.get(SCRIPT_PATH, headers=plain)).status_code == 200


def test_the_script_is_the_one_that_npm_has() -> None:
    told: Any = origin()
    package = packed(told["version"])
    assert integrity_of(package) == told["integrity"]
    assert script_of(package) == gzip.decompress(SCRIPT.read_bytes())
    license_ = SCRIPT.with_name("LICENSE").read_text()
    assert license_.startswith("MIT License")
    assert "Scalar" in license_
