from __future__ import annotations

from pathlib import Path

from timer_trio.run.welcome import welcome


def words(
    *,
    may_call_here: bool,
    api_key: str | None = "k" * 32,
    data_dir: str = "/data",
    has_console: bool = True,
) -> str:
    return welcome(
        url="http://127.0.0.1:8080",
        data_dir=Path(data_dir),
        api_key=api_key,
        called_as=".venv/bin/timer-trio",
        may_call_here=may_call_here,
        has_console=has_console,
    )


def test_first_lines_say_that_callbacks_may_reach_this_machine() -> None:
    lines = words(may_call_here=True).splitlines()
    assert "Callbacks may reach this machine (127.0.0.1), which is for development." in lines[:6]
    assert "curl http://127.0.0.1:8080/timers " in words(may_call_here=True)


def test_console_is_named_if_there_is_one() -> None:
    line = "console: http://127.0.0.1:8080/console"
    assert line in words(may_call_here=True).splitlines()
    assert line not in words(may_call_here=True, has_console=False).splitlines()


def test_nobody_is_told_to_try_what_would_be_refused() -> None:
    text = words(may_call_here=False)
    assert "curl" not in text
    assert "`.venv/bin/timer-trio serve --dev`" in text
    assert "127.0.0.1 to CALLBACK_ALLOW" in text


def test_key_that_is_not_to_be_shown_is_named_by_its_file() -> None:
    text = words(may_call_here=True, api_key=None, data_dir="/my data")
    assert "API key: see /my data/api_key\n" in text
    assert """-H "X-API-Key: $(cat '/my data/api_key')" """ in text
    assert "None" not in text
    assert "API key: " + "k" * 32 in words(may_call_here=True)
