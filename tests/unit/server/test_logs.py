from __future__ import annotations

from qmtl_worlds import logs


def test_values_under_a_secret_name_and_tokens_anywhere_are_hidden() -> None:
    event = {"event": "sent qw_runner_ab12_c3d4e5f6-_x to 127.0.0.1", "Password": "hunter2", "world_id": "us_equity"}

    hidden = logs.redact(None, "info", dict(event))

    assert hidden == {
        "event": f"sent {logs.REDACTED} to 127.0.0.1",
        "Password": logs.REDACTED,
        "world_id": "us_equity",
    }
