from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from io import StringIO
from unittest.mock import patch

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command

from audit.models import AuditEvent, AuditRun
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import NotFoundError, PermissionDeniedError
from strategies.models import StrategyInstance
from tests.worlds.circuits import open_alerts, told
from tests.worlds.factories import act_of, make_world, person, shell
from tests.worlds.steps import approve_now, drained, evaluate, finish, first_apply, go_on, lose, start
from worlds.alerts import CATALOG, Ending
from worlds.models import Alert, ApplyRun, OutboxEvent, RunnerSession, World
from worlds.services.alerts import acknowledge_alert, clear_alert, failed_changes, raise_alert
from worlds.services.approvals import abort, reject
from worlds.services.conditions import WATCHED, watch_alerts
from worlds.services.policies import request_policy
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(days=1)


def look() -> None:
    """Do what the tick does for alerts."""
    watch_alerts(act=shell())


def waiting_for(world: World, kind: str) -> set[str]:
    """Return the subjects of open alerts of a kind."""
    return {subject for known, subject in open_alerts(world) if known == kind}


def test_alert_is_raised_once_cleared_and_raised_again(world: World) -> None:
    def tell() -> Alert | None:
        return raise_alert(world=world, kind="drift", facts={"n": 1}, act=shell())

    first, twice = tell(), tell()
    cleared = [clear_alert(world=world, kind="drift", act=shell()) for _ in range(2)]
    again = tell()

    assert first is not None
    assert twice is None
    assert cleared == [True, False]
    assert again is not None
    assert told("alert.") == ["alert.raised", "alert.cleared", "alert.raised"]
    assert open_alerts(world) == {("drift", "")}


def test_alert_names_the_outbox_row_that_told_it(world: World) -> None:
    alert = raise_alert(world=world, kind="drift", subject="x", facts={"n": 1}, act=shell())

    world.refresh_from_db()
    event = OutboxEvent.objects.get(world=world, sequence=world.sequence)
    assert alert is not None
    assert alert.sequence == event.sequence
    assert (event.kind, event.payload["alert"], event.payload["phase"]) == ("alert", "drift", "raised")


def test_alerts_of_different_subjects_and_worlds_are_apart(world: World) -> None:
    other = make_world("w2")
    for where, subject in ((world, "a"), (world, "b"), (other, "a")):
        raise_alert(world=where, kind="run_held", subject=subject, act=shell())

    clear_alert(world=world, kind="run_held", subject="a", act=shell())

    assert waiting_for(world, "run_held") == {"b"}
    assert waiting_for(other, "run_held") == {"a"}


def test_alert_outside_the_catalog_is_refused(world: World) -> None:
    with pytest.raises(KeyError):
        raise_alert(world=world, kind="surprise", act=shell())


def test_apply_tells_who_came_and_who_left(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    lose(world, "good")
    evaluate(world, "eval-2", day=1)
    finish(world, start(world, alice, "run-2", "eval-2").run_id)

    came, left = Alert.objects.get(kind="promotion"), Alert.objects.get(kind="demotion")
    assert (came.subject, came.facts["instances"]) == ("run-1", ["better|long", "good|long"])
    assert left.facts["instances"] == ["good|long"]
    assert open_alerts(world) == set()


def test_cancelled_run_is_told_until_somebody_takes_note_and_its_changes_are_counted(
    waiting: ApplyRun, world: World, alice: User, bob: User
) -> None:
    drained(world, waiting, bob)
    abort(world_id=world.id, run_id=waiting.run_id, act=act_of(alice))
    look()
    before = open_alerts(world)
    alert = Alert.objects.get(kind="apply_failed")

    acknowledge_alert(world_id=world.id, alert_id=alert.pk, act=act_of(alice))

    failed = failed_changes(world_id=world.id)
    assert before == {("apply_failed", waiting.run_id)}
    assert open_alerts(world) == set()
    assert (failed.promotion_fail_total, failed.demotion_fail_total) == (1, 1)


def test_held_run_is_told_at_once_and_over_when_a_person_ends_it(
    waiting: ApplyRun, world: World, alice: User, bob: User
) -> None:
    drained(world, waiting, bob)
    ApplyRun.objects.filter(pk=waiting.pk).update(deadline_at=database_now() - timedelta(minutes=1))
    go_on(world, waiting.run_id)
    held = open_alerts(world)
    look()
    still = open_alerts(world)
    abort(world_id=world.id, run_id=waiting.run_id, act=act_of(alice))

    look()

    assert ("run_held", waiting.run_id) in held
    assert held == still
    assert waiting_for(world, "run_held") == set()


def test_what_waits_for_a_second_person_is_told_and_told_again_when_it_waits_long(
    waiting: ApplyRun, world: World, bob: User
) -> None:
    look()
    young = open_alerts(world)
    ApplyRun.objects.filter(pk=waiting.pk).update(requested_at=database_now() - timedelta(hours=5))
    look()
    old = open_alerts(world)
    reject(world_id=world.id, run_id=waiting.run_id, act=act_of(bob))

    look()

    assert young == {("approval_waiting", waiting.run_id)}
    assert old == young | {("approval_stale", waiting.run_id)}
    assert open_alerts(world) == set()


def test_policy_that_waits_is_told_as_well(world: World, alice: User) -> None:
    request_policy(world_id=world.id, version=1, act=act_of(alice))

    look()

    assert waiting_for(world, "approval_waiting") == {"policy:v1"}


def test_stale_member_is_told_and_audited_until_it_is_fresh(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    members = StrategyInstance.objects.filter(strategy_id="good")
    fresh_until = members.get().fresh_until
    members.update(fresh_until=database_now() - LONG_AGO)
    StrategyInstance.objects.filter(strategy_id="bad").update(fresh_until=None)
    look()
    stale = waiting_for(world, "data_stale")
    members.update(fresh_until=fresh_until)

    look()

    assert stale == {"good|long"}
    assert waiting_for(world, "data_stale") == set()
    assert told("data.") == ["data.stale", "data.fresh"]


def test_run_that_does_not_move_is_told(waiting: ApplyRun, world: World, bob: User) -> None:
    drained(world, waiting, bob)
    look()
    quick = waiting_for(world, "apply_slow")
    ApplyRun.objects.filter(pk=waiting.pk).update(state_changed_at=database_now() - timedelta(minutes=2))

    look()

    assert quick == set()
    assert waiting_for(world, "apply_slow") == {waiting.run_id}


def test_evaluation_that_takes_long_is_told(world: World) -> None:
    evaluate(world)
    now = database_now()
    fields = AuditRun.objects.filter(run_id="eval-1").values("world_id", "kind", "as_of", "now", "engine_version").get()
    AuditRun.objects.create(**fields, run_id="eval-2", state="running", started_at=now - timedelta(minutes=1))

    look()

    assert waiting_for(world, "evaluation_slow") == {"eval-2"}


@pytest.mark.parametrize(
    ("silence", "lost"), [(timedelta(seconds=1), set()), (timedelta(minutes=1), {"c1"}), (timedelta(days=2), set())]
)
def test_runner_that_falls_silent_is_told_until_it_is_forgotten(
    world: World, silence: timedelta, lost: set[str]
) -> None:
    now = database_now()
    RunnerSession.objects.create(world=world, client_id="c1", connected_at=now - silence, seen_at=now - silence)

    look()

    assert waiting_for(world, "runner_lost") == lost


def test_looking_again_changes_nothing(waiting: ApplyRun, world: World) -> None:
    look()
    world.refresh_from_db()
    before = world.sequence

    look()

    world.refresh_from_db()
    assert world.sequence == before


def test_world_that_refuses_does_not_keep_others_from_being_told(waiting: ApplyRun, world: World) -> None:
    other = make_world("a-first")
    RunnerSession.objects.create(
        world=other, client_id="c1", connected_at=database_now(), seen_at=database_now() - timedelta(minutes=1)
    )

    def refuse(*, world: World, kind: str, subject: str, facts: Mapping[str, object], act: Act) -> None:
        if world.id == "a-first":
            raise NotFoundError("gone")
        raise_alert(world=world, kind=kind, subject=subject, facts=facts, act=act)

    with patch("worlds.services.conditions.raise_alert", refuse):
        look()

    assert waiting_for(world, "approval_waiting") == {waiting.run_id}
    assert open_alerts(other) == set()


def test_whoever_only_reads_acknowledges_nothing(world: World) -> None:
    alert = raise_alert(world=world, kind="drift", act=shell())
    assert alert is not None

    with pytest.raises(PermissionDeniedError):
        acknowledge_alert(world_id=world.id, alert_id=alert.pk, act=act_of(person("vic", "viewer")))


def test_acknowledging_keeps_an_alert_open_whose_condition_lasts(world: World, alice: User) -> None:
    alert = raise_alert(world=world, kind="drift", act=shell())
    assert alert is not None

    acknowledge_alert(world_id=world.id, alert_id=alert.pk, act=act_of(alice))

    assert open_alerts(world) == {("drift", "")}
    assert AuditEvent.objects.get(kind="alert.acknowledged").actor == "person:alice"


def test_every_watched_kind_is_in_the_catalog_and_ends_with_its_condition() -> None:
    assert all(CATALOG[kind].ending is Ending.CONDITION for kind in WATCHED)
    assert all(len(kind) <= 32 for kind in CATALOG)


def test_reference_page_lists_the_catalog() -> None:
    page = (settings.BASE_DIR / "docs" / "reference" / "alerts.md").read_text(encoding="utf-8")

    listed = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}

    assert listed.keys() == CATALOG.keys()
    for kind, known in CATALOG.items():
        assert all(text in listed[kind] for text in (known.severity.value, known.subject, known.text, known.advice))


def test_tick_tells(waiting: ApplyRun, world: World) -> None:
    call_command("tick", "--once", stdout=StringIO())

    assert ("approval_waiting", waiting.run_id) in open_alerts(world)


def test_approved_run_waits_no_more(waiting: ApplyRun, world: World, bob: User) -> None:
    look()
    approve_now(world, waiting, bob)

    look()

    assert waiting_for(world, "approval_waiting") == set()
