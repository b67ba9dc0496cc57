from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User

from tests.api.callers import Caller, machine, session
from tests.worlds.circuits import limit, push, tripped
from tests.worlds.factories import person, shell
from worlds.models import Alert, World
from worlds.services.alerts import raise_alert
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def limited(world: World, alice: User, bob: User) -> World:
    """A world that may lose a tenth."""
    limit(world, alice, bob)
    return world


@pytest.fixture
def ruth() -> User:
    """Answers for risk."""
    return person("ruth", "risk")


def snapshots(*equities: float, since: datetime | None = None) -> dict[str, object]:
    """Snapshots of the last minutes."""
    first = since or database_now() - timedelta(minutes=len(equities))
    times = [(first + timedelta(minutes=minute)).isoformat() for minute in range(len(equities))]
    return {"snapshots": [{"ts": ts, "equity": equity} for ts, equity in zip(times, equities, strict=True)]}


def test_breach_halts_the_world_and_the_answer_says_so(limited: World, gateway: Caller) -> None:
    reply = gateway.post("/worlds/w1/equity", snapshots(100.0, 70.0))

    circuit = reply.json()["circuit"]
    assert (reply.status, reply.json()["stored"]) == (200, 2)
    assert circuit["tripped"]
    assert circuit["drawdown"] == pytest.approx(0.3)
    assert circuit["limits"]["max_drawdown"] == 0.1
    assert tripped(limited)
    assert gateway.get("/worlds/w1/circuit").json() == circuit


def test_same_snapshots_again_change_nothing_and_others_of_that_time_are_a_conflict(
    limited: World, gateway: Caller
) -> None:
    since = database_now() - timedelta(hours=1)
    gateway.post("/worlds/w1/equity", snapshots(100.0, since=since))

    again = gateway.post("/worlds/w1/equity", snapshots(100.0, since=since))
    other = gateway.post("/worlds/w1/equity", snapshots(101.0, since=since))

    assert (again.status, again.json()["unchanged"]) == (200, 1)
    assert (other.status, other.code) == (409, "series-conflict")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"snapshots": []},
        {"snapshots": [{"ts": "2026-03-03T00:00:00", "equity": 1.0}]},
        {"snapshots": [{"ts": "2999-03-03T00:00:00Z", "equity": 1.0}]},
        {"snapshots": [{"ts": "2026-03-03T00:00:00Z", "equity": 0}]},
        {"snapshots": [{"ts": "2026-03-03T00:00:00Z", "equity": 1.0, "var_95": -1.0}]},
        {"snapshots": [{"ts": "2026-03-03T00:00:00Z"}]},
        {"snapshots": [{"ts": "2026-03-03T00:00:00Z", "equity": 1.0, "x": 1}]},
    ],
)
def test_equity_that_cannot_be_is_refused(limited: World, gateway: Caller, body: object) -> None:
    assert gateway.post("/worlds/w1/equity", body).status == 422


def test_token_of_some_strategies_learns_nothing_of_the_whole(limited: World) -> None:
    some = machine("submitter", strategies=("good",))

    codes = {some.get(f"/worlds/w1/{what}").code for what in ("alerts", "circuit")}

    assert codes == {"permission-denied"}
    assert some.post("/worlds/w1/equity", snapshots(100.0)).code == "permission-denied"


def test_circuit_that_nothing_was_sent_to_is_shown_as_such(limited: World, gateway: Caller) -> None:
    circuit = gateway.get("/worlds/w1/circuit").json()

    assert (circuit["tripped"], circuit["high_water"], circuit["last_ts"]) == (False, None, None)


def test_risk_person_resets_by_session_and_an_operator_only_asks(limited: World, alice: User, ruth: User) -> None:
    push(limited, 100.0, 70.0)
    body = {"high_water_mark": "reset", "reason": "looked at"}

    asked = session(alice).post("/worlds/w1/circuit/reset", body)
    held = tripped(limited)
    granted = session(ruth).post(f"/worlds/w1/reopenings/{asked.json()['id']}/grant")

    assert (asked.json()["state"], held) == ("requested", True)
    assert granted.json()["state"] == "granted"
    assert not tripped(limited)


def test_reset_of_a_paper_world_takes_one_risk_person(limited: World, ruth: User) -> None:
    push(limited, 100.0, 70.0)

    reply = session(ruth).post("/worlds/w1/circuit/reset", {"high_water_mark": "keep", "reason": "looked at"})

    assert reply.json()["state"] == "granted"
    assert not tripped(limited)


@pytest.mark.parametrize("body", [{}, {"high_water_mark": "keep"}, {"high_water_mark": "lower", "reason": "x"}])
def test_reset_says_what_becomes_of_the_mark_and_why(limited: World, ruth: User, body: object) -> None:
    push(limited, 100.0, 70.0)

    assert session(ruth).post("/worlds/w1/circuit/reset", body).status == 422
    assert tripped(limited)


def test_reset_of_what_has_not_tripped_is_a_conflict(limited: World, ruth: User) -> None:
    reply = session(ruth).post("/worlds/w1/circuit/reset", {"high_water_mark": "keep", "reason": "x"})

    assert (reply.status, reply.code) == (409, "conflict")


def test_alerts_come_newest_first_and_by_the_page(limited: World, gateway: Caller) -> None:
    for number in range(3):
        raise_alert(world=limited, kind="run_held", subject=f"run-{number}", act=shell())

    first = gateway.get("/worlds/w1/alerts?limit=2").json()
    second = gateway.get(f"/worlds/w1/alerts?limit=2&cursor={first['next_cursor']}").json()

    assert [one["subject"] for one in first["alerts"] + second["alerts"]] == ["run-2", "run-1", "run-0"]
    assert second["next_cursor"] == ""
    assert (first["promotion_fail_total"], first["demotion_fail_total"]) == (0, 0)
    assert first["alerts"][0]["advice"] == "Resume the run, or abort it to go back."


def test_acknowledged_alert_says_by_whom_and_is_not_open_any_more(limited: World, alice: User, gateway: Caller) -> None:
    alert = raise_alert(world=limited, kind="apply_failed", subject="run-1", act=shell())
    assert alert is not None
    operator = session(alice)

    first = operator.post(f"/worlds/w1/alerts/{alert.pk}/acknowledge").json()
    again = operator.post(f"/worlds/w1/alerts/{alert.pk}/acknowledge").json()

    assert first["acknowledged_by"] == "person:alice"
    assert first == again
    assert gateway.get("/worlds/w1/alerts?open=true").json()["alerts"] == []
    assert len(gateway.get("/worlds/w1/alerts").json()["alerts"]) == 1


def test_alert_of_another_world_is_not_found(limited: World, alice: User) -> None:
    other = World.objects.create(id="w2", created_at=database_now(), changed_at=database_now())
    alert = Alert.objects.create(world=other, kind="drift", severity="warning", sequence=1, raised_at=database_now())

    assert session(alice).post(f"/worlds/w1/alerts/{alert.pk}/acknowledge").status == 404
