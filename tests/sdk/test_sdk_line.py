"""Settings that would let a lease lapse are refused; reconnects spread out."""

from __future__ import annotations

import pytest

from qmtl_worlds.sdk.errors import GateSettingsError
from qmtl_worlds.sdk.line import LONGEST_RETRY_SECONDS, LineSettings, Reconnect


@pytest.mark.parametrize(
    ("lease", "read_timeout", "poll"),
    [
        (5.0, 5.0, None),
        (5.0, 6.0, None),
        (5.0, 1.6, None),
        (5.0, 0.0, None),
        (5.0, None, 5.0),
        (5.0, None, -1.0),
        (0.0, None, None),
        (61.0, None, None),
        (float("nan"), None, None),
        (None, 60.0, None),
        (None, None, 60.0),
        (None, float("nan"), None),
    ],
)
def test_settings_that_let_a_healthy_lease_lapse_are_refused(
    lease: float | None, read_timeout: float | None, poll: float | None
) -> None:
    with pytest.raises(GateSettingsError):
        LineSettings(lease_seconds=lease, read_timeout_seconds=read_timeout, poll_seconds=poll)


def test_settings_that_fit_one_lease_are_refused_under_another() -> None:
    settings = LineSettings(read_timeout_seconds=3.0)

    settings.check(5.0)
    with pytest.raises(GateSettingsError, match="under the lease of 1 s"):
        settings.check(1.0)
    with pytest.raises(GateSettingsError, match="silent for 20 s"):
        settings.check(60.0)


def test_lease_has_to_be_known_only_where_a_setting_depends_on_it() -> None:
    assert not LineSettings().needs_lease
    assert LineSettings(poll_seconds=1.0).needs_lease
    assert not LineSettings(poll_seconds=1.0, lease_seconds=5.0).needs_lease


def test_stream_is_given_up_while_there_is_time_to_ask() -> None:
    assert LineSettings().silence_seconds(3.0) == pytest.approx(2.0)
    assert LineSettings(read_timeout_seconds=1.5).silence_seconds(3.0) == 1.5
    assert LineSettings().silence_seconds(None) == pytest.approx(40.0)


def test_reconnect_follows_the_servers_wish_and_doubles_while_nothing_is_heard() -> None:
    reconnect = Reconnect(lambda: 0.5)

    pauses = [reconnect.pause_seconds(heard=heard, retry_ms=800) for heard in (True, False, False, True)]

    assert pauses == pytest.approx([0.8, 1.6, 3.2, 0.8])


def test_reconnect_is_spread_and_bounded() -> None:
    early, late = Reconnect(lambda: 0.0), Reconnect(lambda: 0.999)

    assert early.pause_seconds(heard=True, retry_ms=None) == 0.5
    assert max(late.pause_seconds(heard=False, retry_ms=None) for _ in range(50)) <= 1.5 * LONGEST_RETRY_SECONDS
