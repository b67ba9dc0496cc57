from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import (
    AlreadyExistsError,
    ApprovalNeedsSessionError,
    PermissionDeniedError,
    PolicyInvalidError,
    PolicyNotFoundError,
    RunStateError,
    SelfApprovalError,
    WorldNotFoundError,
)
from strategies.models import StrategyInstance
from tests.worlds.factories import POLICY, act_of, add_strategy, make_world, person, put_policy, shell
from worlds.models import OutboxEvent, PolicyChange, PolicyVersion, World
from worlds.services.authority import act_of_system
from worlds.services.policies import approve_policy, reject_policy, request_policy, store_policy
from worlds.services.registry import NewWorld, create_world
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def bare() -> World:
    """A world without a policy."""
    return make_world()


def text_of(world: World, version: int = 1) -> str:
    return POLICY.format(world=world.id, version=version)


def asked(world: World, alice: User, version: int = 1) -> PolicyChange:
    store_policy(world_id=world.id, text=text_of(world, version), act=act_of(alice))
    return request_policy(world_id=world.id, version=version, act=act_of(alice))


def test_stored_policy_is_a_draft_until_somebody_puts_it_in_force(bare: World, alice: User) -> None:
    store_policy(world_id=bare.id, text=text_of(bare), act=act_of(alice))

    bare.refresh_from_db()
    assert bare.policy is None


def test_faulty_policy_names_all_its_faults_and_stores_nothing(bare: World, alice: User) -> None:
    text = text_of(bare).replace("total: 3", "total: -1").replace("sharpe_30d >= 0.5", "sharp_30d >= 0.5")

    with pytest.raises(PolicyInvalidError) as caught:
        store_policy(world_id=bare.id, text=text, act=act_of(alice))

    assert len(caught.value.faults) == 2
    assert not PolicyVersion.objects.exists()


def test_same_text_again_is_a_no_op(bare: World, alice: User) -> None:
    first = store_policy(world_id=bare.id, text=text_of(bare), act=act_of(alice))

    again = store_policy(world_id=bare.id, text=text_of(bare), act=act_of(alice))

    assert again == first
    assert AuditEvent.objects.filter(kind="policy.stored").count() == 1


def test_version_number_that_is_taken_by_another_text_is_a_conflict(bare: World, alice: User) -> None:
    store_policy(world_id=bare.id, text=text_of(bare), act=act_of(alice))

    with pytest.raises(AlreadyExistsError):
        store_policy(world_id=bare.id, text=text_of(bare).replace("0.5", "0.6"), act=act_of(alice))


def test_policy_comes_into_force_by_a_second_person(bare: World, alice: User, bob: User) -> None:
    change = asked(bare, alice)

    approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of(bob))

    bare.refresh_from_db()
    assert bare.policy is not None
    assert bare.policy.version == 1
    assert AuditEvent.objects.filter(kind="policy.activated", actor="person:bob").exists()
    assert OutboxEvent.objects.filter(kind="policy_updated").count() == 1


def test_author_cannot_approve_even_where_somebody_else_requested(bare: World, bob: User) -> None:
    carol = person("carol", "author", "approver")
    store_policy(world_id=bare.id, text=text_of(bare), act=act_of(carol))
    dave = person("dave", "operator")
    change = request_policy(world_id=bare.id, version=1, act=act_of(dave))

    with pytest.raises(SelfApprovalError):
        approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of(carol))


def test_requester_cannot_approve(bare: World, alice: User) -> None:
    carol = person("carol", "operator", "approver")
    store_policy(world_id=bare.id, text=text_of(bare), act=act_of(alice))
    change = request_policy(world_id=bare.id, version=1, act=act_of(carol))

    with pytest.raises(SelfApprovalError):
        approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of(carol))


def test_machine_cannot_approve(bare: World, alice: User) -> None:
    change = asked(bare, alice)

    with pytest.raises(PermissionDeniedError):
        approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of_system(reason="test"))


@pytest.mark.parametrize("age", [timedelta(minutes=6), timedelta(seconds=-60), None])
def test_approval_without_a_recent_password_is_refused(
    bare: World, alice: User, bob: User, age: timedelta | None
) -> None:
    change = asked(bare, alice)
    act = act_of(bob)

    with pytest.raises(ApprovalNeedsSessionError):
        approve_policy(change_id=change.pk, reauthenticated_at=None if age is None else act.now - age, act=act)

    bare.refresh_from_db()
    assert bare.policy is None


def test_stranger_learns_nothing_of_a_request(bare: World, alice: User, bob: User) -> None:
    change = asked(bare, alice)
    approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of(bob))
    other = make_world("w2")
    charlie = person("charlie", "approver", world=other)

    with pytest.raises(WorldNotFoundError):
        approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of(charlie))


def test_request_is_decided_once(bare: World, alice: User, bob: User) -> None:
    change = asked(bare, alice)
    reject_policy(change_id=change.pk, act=act_of(bob))

    with pytest.raises(RunStateError):
        approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of(bob))

    bare.refresh_from_db()
    assert bare.policy is None


def test_newer_request_supersedes_the_older_one_and_says_so(bare: World, alice: User) -> None:
    older = asked(bare, alice)
    asked(bare, alice, version=2)

    older.refresh_from_db()
    assert older.state == PolicyChange.State.SUPERSEDED
    assert AuditEvent.objects.filter(kind="policy.activation_cancelled", subject="v1").exists()


def test_request_of_a_version_that_nobody_stored_is_not_found(bare: World, alice: User) -> None:
    with pytest.raises(PolicyNotFoundError):
        request_policy(world_id=bare.id, version=9, act=act_of(alice))


def test_viewer_cannot_store_a_policy(bare: World) -> None:
    charlie = person("charlie", "viewer")

    with pytest.raises(PermissionDeniedError):
        store_policy(world_id=bare.id, text=text_of(bare), act=act_of(charlie))


def test_live_world_takes_no_policy_that_counts_backtests(alice: User) -> None:
    world = make_world("real", mode="live")

    with pytest.raises(PolicyInvalidError) as caught:
        store_policy(world_id=world.id, text=text_of(world), act=act_of(alice))

    (fault,) = caught.value.faults
    assert (fault.line, fault.path, fault.code) == (4, "metrics.provenance", "live_backtest")


def test_new_policy_changes_what_is_fresh_at_once(bare: World, alice: User, bob: User) -> None:
    add_strategy(bare, "good", quality=3)
    before = StrategyInstance.objects.get().fresh_until

    put_policy(bare, author=alice, approver=bob)

    assert before is None
    assert StrategyInstance.objects.get().fresh_until is not None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE worlds_policyversion SET text = 'x'",
        "UPDATE worlds_policyversion SET checksum = 'x'",
        "DELETE FROM worlds_policyversion",
    ],
)
def test_database_itself_refuses_to_change_a_stored_version(bare: World, alice: User, change: str) -> None:
    store_policy(world_id=bare.id, text=text_of(bare), act=act_of(alice))

    with pytest.raises(DatabaseError), transaction.atomic(), transaction.get_connection().cursor() as cursor:
        cursor.execute(change)


def test_first_policy_of_a_qmtl_world_is_in_force_at_once_and_the_second_is_not(alice: User) -> None:
    world = create_world(new=NewWorld("field", compat="qmtl"), act=shell())
    first = store_policy(world_id=world.id, text=text_of(world), act=act_of(alice))
    store_policy(world_id=world.id, text=text_of(world, 2), act=act_of(alice))

    world.refresh_from_db()
    assert world.policy == first


def test_policy_load_stores_a_file_and_leaves_it_to_a_second_person(tmp_path: Path) -> None:
    file = tmp_path / "loaded.yml"
    file.write_text(POLICY.format(world="loaded", version=1), encoding="utf-8")
    told = io.StringIO()

    call_command("policy_load", str(file), "--create", stdout=told)
    call_command("policy_load", str(file), stdout=io.StringIO())

    world = World.objects.get(id="loaded")
    assert world.policy is None
    assert PolicyChange.objects.get(world=world).state == "requested"
    assert "waits for a second person" in told.getvalue()


def test_policy_load_prints_every_fault_with_its_place_and_stores_nothing(tmp_path: Path) -> None:
    file = tmp_path / "loaded.yml"
    file.write_text(POLICY.format(world="loaded", version=1).replace("total: 3", "total: -1"), encoding="utf-8")
    told = io.StringIO()

    with pytest.raises(CommandError, match="1 fault"):
        call_command("policy_load", str(file), "--create", stderr=told)

    assert "loaded.yml:8:" in told.getvalue()
    assert not PolicyVersion.objects.exists()


def test_policy_load_of_a_world_that_is_not_there_says_so(tmp_path: Path) -> None:
    file = tmp_path / "nowhere.yml"
    file.write_text(POLICY.format(world="nowhere", version=1), encoding="utf-8")

    with pytest.raises(CommandError, match="nowhere"):
        call_command("policy_load", str(file))


def test_policy_of_a_calendar_that_is_not_there_stays_out(bare: World, alice: User) -> None:
    text = text_of(bare).replace("metrics: {", "metrics: {calendar: XXXX, ")

    with pytest.raises(PolicyInvalidError) as caught:
        store_policy(world_id=bare.id, text=text, act=act_of(alice))

    (fault,) = caught.value.faults
    assert (fault.path, fault.line, fault.code) == ("metrics.calendar", 4, "unknown-calendar")
    assert "XNYS" in fault.message
    assert not PolicyVersion.objects.exists()


def test_stored_policy_warns_of_budgets_that_the_bound_sectors_cannot_take(bare: World, alice: User) -> None:
    add_strategy(bare, "only", quality=1)
    capped = text_of(bare).replace("exposure: {", "exposure: {sector_cap: {per_sector: 0.5}, ")

    policy = store_policy(world_id=bare.id, text=capped, act=act_of(alice))

    assert "sector-undeployable" in {warning["code"] for warning in policy.lint}
