from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import (
    AlreadyExistsError,
    EtagMismatchError,
    InputInvalidError,
    PermissionDeniedError,
    WorldActiveError,
    WorldArchivedError,
    WorldNotFoundError,
)
from tests.worlds.factories import act_of, make_world, person, shell
from tests.worlds.steps import chain_is_whole, evaluate, first_apply, go_on, start
from worlds.models import ApplyRun, World
from worlds.services.authority import act_of_person
from worlds.services.holds import freeze
from worlds.services.registry import NewWorld, archive_world, create_world, update_world, world_etag
from worlds.services.rollback import RollbackRequest, request_rollback

pytestmark = pytest.mark.django_db


@pytest.fixture
def bare() -> World:
    return make_world()


def test_world_is_made_with_nothing_active_and_its_first_audit_row() -> None:
    world = create_world(new=NewWorld("w1", name="One", labels=("a",)), act=shell())

    assert (world.generation, world.sequence, world.policy, world.state) == (0, 1, None, "ACTIVE")
    assert AuditEvent.objects.filter(chain="w1", kind="world.created").count() == 1


def test_world_id_that_is_taken_is_a_conflict(bare: World) -> None:
    with pytest.raises(AlreadyExistsError):
        create_world(new=NewWorld("w1"), act=shell())


@pytest.mark.parametrize("name", ["", "W1", "-w", "w w", "w/1", "w" * 64, "w\n", "_system", "a|b", "ü"])
def test_world_id_outside_the_pattern_is_refused(name: str) -> None:
    with pytest.raises(InputInvalidError):
        create_world(new=NewWorld(name), act=shell())

    assert not World.objects.exists()


@pytest.mark.parametrize(
    "new",
    [
        NewWorld("w1", mode="wild"),
        NewWorld("w1", compat="other"),
        NewWorld("w1", compat="qmtl", mode="live"),
        NewWorld("w1", lease_ms=999),
        NewWorld("w1", lease_ms=60_001),
    ],
)
def test_world_with_an_impossible_field_is_refused(new: NewWorld) -> None:
    with pytest.raises(InputInvalidError):
        create_world(new=new, act=shell())


def test_operator_cannot_make_worlds(alice: User) -> None:
    with pytest.raises((PermissionDeniedError, WorldNotFoundError)):
        create_world(new=NewWorld("w1"), act=act_of(alice))


def test_update_keeps_what_it_does_not_name_and_merges_metadata(bare: World, alice: User) -> None:
    update_world(world_id="w1", changes={"description": "first", "metadata": {"a": 1}}, act=act_of(alice))

    world = update_world(world_id="w1", changes={"name": "One", "metadata": {"b": 2}}, act=act_of(alice))

    assert (world.name, world.description, world.metadata) == ("One", "first", {"a": 1, "b": 2})


def test_update_of_an_older_sight_is_refused(bare: World, alice: User) -> None:
    tag = world_etag(bare)
    update_world(world_id="w1", changes={"name": "One"}, act=act_of(alice), if_match=tag)

    with pytest.raises(EtagMismatchError):
        update_world(world_id="w1", changes={"name": "Two"}, act=act_of(alice), if_match=tag)


@pytest.mark.parametrize("field", ["mode", "id", "state", "generation", "sequence", "compat", "paused"])
def test_update_of_what_only_acts_may_change_is_refused(bare: World, alice: User, field: str) -> None:
    with pytest.raises(InputInvalidError):
        update_world(world_id="w1", changes={field: "x"}, act=act_of(alice))


@pytest.mark.parametrize("change", [{"name": "x" * 201}, {"owner": "a\x00b"}, {"labels": "a"}, {"metadata": []}])
def test_update_to_what_the_database_cannot_hold_is_refused(
    bare: World, alice: User, change: dict[str, object]
) -> None:
    with pytest.raises(InputInvalidError):
        update_world(world_id="w1", changes=change, act=act_of(alice))


@pytest.mark.parametrize("lease", [0, -1, 60_001, "5000", None, 5.5, True])
def test_update_to_an_impossible_lease_is_refused(bare: World, alice: User, lease: object) -> None:
    with pytest.raises(InputInvalidError):
        update_world(world_id="w1", changes={"lease_ms": lease}, act=act_of(alice))


def test_archived_world_is_kept_but_nothing_can_be_done_to_it(bare: World, alice: User) -> None:
    archive_world(world_id="w1", act=shell())

    with pytest.raises(WorldArchivedError):
        freeze(world_id="w1", act=act_of(alice))
    assert World.objects.get().state == "DELETED"


def test_world_with_active_instances_is_not_archived(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    with pytest.raises(WorldActiveError):
        archive_world(world_id=world.id, act=shell())


def test_world_is_archived_once_nothing_is_active(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    request_rollback(world_id=world.id, request=RollbackRequest("back-1", 0), act=act_of(alice))
    go_on(world, "back-1")

    archive_world(world_id=world.id, act=shell())

    assert chain_is_whole(world)


def test_run_that_waits_in_a_world_that_is_archived_never_opens_it(world: World, alice: User) -> None:
    evaluate(world)
    run = start(world, alice)
    ApplyRun.objects.filter(pk=run.pk).update(state="queued", auto=True)
    archive_world(world_id=world.id, act=shell())

    done = go_on(world, run.run_id)

    assert (done.state, done.state_reason) == ("cancelled", "blocked")


def test_stranger_cannot_tell_a_foreign_world_from_none(bare: World) -> None:
    other = make_world("w2")
    charlie = person("charlie", "operator", "admin", world=other)

    for world_id in ("w1", "nowhere"):
        with pytest.raises(WorldNotFoundError, match=world_id):
            update_world(world_id=world_id, changes={"name": "x"}, act=act_of_person(charlie, reason="test"))


def test_database_itself_refuses_a_compat_world_that_is_not_paper(bare: World) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        World.objects.filter(pk="w1").update(compat="qmtl", mode="live")
