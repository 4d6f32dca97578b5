from __future__ import annotations

from pathlib import Path

from timer_trio.welcome import welcome


def words(*, may_call_here: bool) -> str:
    return welcome(
        url="http://127.0.0.1:8080",
        data_dir=Path("/data"),
        api_key="k" * 32,
        called_as=".venv/bin/timer-trio",
        may_call_here=may_call_here,
    )


def test_first_lines_say_that_callbacks_may_reach_this_machine() -> None:
    lines = words(may_call_here=True).splitlines()
    assert "Callbacks may reach this machine (127.0.0.1), which is for development." in lines[:6]
    assert "curl http://127.0.0.1:8080/timers " in words(may_call_here=True)


def test_nobody_is_told_to_try_what_would_be_refused() -> None:
    text = words(may_call_here=False)
    assert "curl" not in text
    assert "`.venv/bin/timer-trio serve --dev`" in text
    assert "127.0.0.1 to CALLBACK_ALLOW" in text
