from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from audit.models import AuditEvent
from qmtl_worlds.contracts.acts import Act, Grants
from qmtl_worlds.contracts.errors import (
    InputInvalidError,
    PermissionDeniedError,
    PlanStaleError,
    StrategyNotFoundError,
)
from qmtl_worlds.contracts.ids import InstanceKey
from tests.worlds.factories import POLICY, act_of, add_day, add_strategy, put_policy
from tests.worlds.steps import (
    BEST,
    BETTER,
    GOOD,
    approve_now,
    chain_is_whole,
    drained,
    evaluate,
    finish,
    first_apply,
    go_on,
    lose,
    members_now,
    start,
)
from worlds.models import Alert, GateHold, RunnerSession, World
from worlds.services import advance as machine
from worlds.services.activation import activation_of
from worlds.services.approvals import abort
from worlds.services.authority import act_of_system
from worlds.services.flat import Acknowledged, Acknowledgement, acknowledge, watch_flats
from worlds.services.overrides import OverrideRequest, set_override
from worlds.services.reopenings import grant
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

FLAT = POLICY.replace(
    "{{on_promote: carry, on_demote: carry}}", "{{on_promote: flat_then_enable, on_demote: disable_then_flat}}"
)


@pytest.fixture
def waits(world: World, alice: User, bob: User) -> World:
    """``good`` and ``better`` came in, and each waits for its Runner's word that it holds nothing."""
    put_policy(world, author=alice, approver=bob, version=2, text=FLAT)
    first_apply(world, alice, bob)
    world.refresh_from_db()
    return world


def runner(*strategies: str, world: str = "w1") -> Act:
    permissions = frozenset({"world.read", "runner.report", "activation.lease"})
    known = frozenset(strategies) if strategies else None
    return Act("token:r1", "", database_now(), grants=Grants({world: permissions}, known))


def say(world: World, *flat: InstanceKey, sequence: int | None = None, by: Act | None = None) -> Acknowledged:
    world.refresh_from_db()
    said = Acknowledgement("node-1", world.sequence if sequence is None else sequence, flat=flat)
    return acknowledge(world_id=world.id, said=said, act=by or runner())


def reason(world: World, key: InstanceKey = GOOD) -> str:
    return activation_of(world_id=world.id, key=key).envelope.reason


def watch(world: World, *, late: bool) -> None:
    if late:
        GateHold.objects.filter(world=world).update(placed_at=database_now() - timedelta(minutes=6))
    watch_flats(act=act_of_system(reason="tick"))


def test_promoted_instance_takes_exits_only_until_its_runner_says_that_it_is_flat(waits: World) -> None:
    before = reason(waits), reason(waits, BETTER)

    done = say(waits, GOOD)

    assert before == ("awaiting_flat", "awaiting_flat")
    assert (done.released, done.waiting) == ((GOOD,), ())
    assert (reason(waits), reason(waits, BETTER)) == ("active", "awaiting_flat")
    told = AuditEvent.objects.get(kind="gate.flat_acknowledged")
    assert (told.actor, told.subject) == ("token:r1", GOOD.text)
    assert chain_is_whole(waits)


def test_demoted_instance_waits_for_its_runners_word_too(waits: World, alice: User, bob: User) -> None:
    say(waits, GOOD, BETTER)
    add_strategy(waits, "best", quality=9)
    add_day(waits, 1, {"good": 0.001, "better": 0.008, "best": 0.01, "bad": -0.01})
    evaluate(waits, "eval-2", day=1)
    approve_now(waits, start(waits, alice, "run-2", "eval-2"), bob)
    finish(waits, "run-2")

    assert members_now(waits) == {"better", "best"}
    assert (reason(waits), reason(waits, BEST), reason(waits, BETTER)) == ("awaiting_flat", "awaiting_flat", "active")
    say(waits, GOOD)
    assert reason(waits) == "not_selected"


def test_gate_fail_waits_for_a_flat_position_as_well(waits: World, alice: User) -> None:
    say(waits, GOOD, BETTER)
    lose(waits, "good")
    evaluate(waits, "eval-2", day=1)
    start(waits, alice, "run-2", "eval-2")

    go_on(waits, "run-2")

    assert (members_now(waits), reason(waits)) == ({"better"}, "awaiting_flat")


def test_word_from_before_the_switch_says_nothing_of_the_position_since(waits: World) -> None:
    placed = GateHold.objects.get(scope=GOOD.text).placed_at

    early = say(waits, GOOD, sequence=1)
    still = reason(waits)
    late = say(waits, GOOD)

    assert (early.released, early.waiting, still) == ((), (GOOD,), "awaiting_flat")
    assert late.released == (GOOD,)
    assert placed is not None


def test_flat_word_again_changes_nothing(waits: World) -> None:
    say(waits, GOOD)
    waits.refresh_from_db()
    sequence = waits.sequence

    again = say(waits, GOOD)

    waits.refresh_from_db()
    assert (again.released, again.waiting, waits.sequence) == ((), (), sequence)


def test_runner_speaks_for_its_own_strategies_only(waits: World) -> None:
    with pytest.raises(StrategyNotFoundError):
        say(waits, GOOD, by=runner("better"))

    assert reason(waits) == "awaiting_flat"


def test_operator_cannot_call_a_position_flat(waits: World, alice: User) -> None:
    with pytest.raises(PermissionDeniedError):
        say(waits, GOOD, by=act_of(alice))

    assert reason(waits) == "awaiting_flat"


@pytest.mark.parametrize(("sequence", "incarnation"), [(10**6, None), (1, 7)])
def test_word_from_another_present_is_refused(waits: World, sequence: int, incarnation: int | None) -> None:
    said = Acknowledgement("node-1", sequence, incarnation, flat=(GOOD,))

    with pytest.raises(InputInvalidError):
        acknowledge(world_id=waits.id, said=said, act=runner())

    assert not RunnerSession.objects.exists()


def test_acknowledgement_is_kept_with_the_newest_position(waits: World) -> None:
    say(waits)
    newest = waits.sequence
    say(waits, sequence=3)

    session = RunnerSession.objects.get()
    assert (session.client_id, session.token, session.sequence) == ("node-1", "r1", newest)
    assert session.acknowledged_at == session.seen_at
    assert not AuditEvent.objects.filter(kind="gate.flat_acknowledged").exists()


def test_waiver_takes_two_people_and_is_not_called_flat(waits: World, alice: User, bob: User) -> None:
    request = OverrideRequest(GOOD, active=True)

    asked = set_override(world_id=waits.id, request=request, act=act_of(alice)).waits
    before = reason(waits)
    assert asked is not None
    now = database_now()
    grant(world_id=waits.id, reopening_id=asked.pk, reauthenticated_at=now, act=act_of(bob))

    assert (before, reason(waits)) == ("awaiting_flat", "active")
    kinds = list(AuditEvent.objects.filter(subject=GOOD.text, kind__startswith="gate.flat").values_list("kind"))
    assert kinds == [("gate.flat_waiver_requested",), ("gate.flat_waived",)]


def test_waiver_of_a_wait_that_is_over_is_stale(waits: World, alice: User, bob: User) -> None:
    request = OverrideRequest(GOOD, active=True)
    asked = set_override(world_id=waits.id, request=request, act=act_of(alice)).waits
    say(waits, GOOD)
    assert asked is not None
    now = database_now()

    with pytest.raises(PlanStaleError):
        grant(world_id=waits.id, reopening_id=asked.pk, reauthenticated_at=now, act=act_of(bob))


def test_wait_past_its_deadline_is_told_once_and_goes_on(waits: World) -> None:
    watch(waits, late=False)
    assert not Alert.objects.filter(kind="awaiting_flat_overdue").exists()

    watch(waits, late=True)
    watch(waits, late=True)

    alerts = Alert.objects.filter(kind="awaiting_flat_overdue").order_by("subject")
    assert [alert.subject for alert in alerts] == [BETTER.text, GOOD.text]
    assert AuditEvent.objects.filter(kind="gate.flat_overdue").count() == 2
    assert reason(waits) == "awaiting_flat"


def test_deadline_is_a_setting(waits: World, settings: Settings) -> None:
    settings.FLAT_DEADLINE_SECONDS = 3600

    watch(waits, late=True)

    assert not Alert.objects.filter(kind="awaiting_flat_overdue").exists()


def test_alert_ends_with_the_wait(waits: World) -> None:
    watch(waits, late=True)

    say(waits, GOOD)

    open_ones = Alert.objects.filter(kind="awaiting_flat_overdue", cleared_at=None)
    assert [alert.subject for alert in open_ones] == [BETTER.text]


def test_alert_ends_where_the_switch_that_started_the_wait_is_undone(
    waits: World, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(waits, GOOD, BETTER)
    add_strategy(waits, "best", quality=9)
    add_day(waits, 1, {"good": 0.001, "better": 0.008, "best": 0.01, "bad": -0.01})
    evaluate(waits, "eval-2", day=1)
    run = drained(waits, start(waits, alice, "run-2", "eval-2"), bob)
    with monkeypatch.context() as patched:
        patched.setattr(machine, "MAX_STEPS", 2)
        go_on(waits, run.run_id)
    GateHold.objects.filter(kind="awaiting_flat").update(placed_at=database_now() - timedelta(minutes=6))
    watch_flats(act=act_of_system(reason="tick"))
    told = Alert.objects.filter(kind="awaiting_flat_overdue", cleared_at=None).count()

    abort(world_id=waits.id, run_id=run.run_id, act=act_of(alice))
    watch_flats(act=act_of_system(reason="tick"))

    assert told == 2
    assert not Alert.objects.filter(kind="awaiting_flat_overdue", cleared_at=None).exists()
