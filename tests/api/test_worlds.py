from __future__ import annotations

import pytest

from tests.api.callers import Caller, machine
from worlds.models import World

pytestmark = pytest.mark.django_db


def create(caller: Caller, world_id: str, **members: object) -> dict[str, object]:
    reply = caller.post("/worlds", {"id": world_id, **members})
    assert reply.status == 201, reply.content
    created: dict[str, object] = reply.json()
    return created


def test_new_world_is_answered_with_what_was_said_and_what_follows(gateway: Caller) -> None:
    reply = gateway.post("/worlds", {"id": "w1", "name": "One", "labels": ["a"], "allow_live": True})

    assert reply.status == 201
    assert reply.headers["location"] == "/worlds/w1"
    world = reply.json()
    assert (world["name"], world["labels"], world["mode"], world["allow_live"]) == ("One", ["a"], "paper", True)
    assert (world["state"], world["op_state"], world["generation"]) == ("ACTIVE", "steady", 0)
    assert world["policy_version"] is None
    assert world["created_at"].endswith("Z")


def test_unknown_members_of_a_world_are_kept_and_echoed_as_metadata(gateway: Caller) -> None:
    create(gateway, "w1", data={"presets": {"ohlcv": 1}})

    gateway.send("PUT", "/worlds/w1", b'{"more": [1, 2]}')

    assert gateway.get("/worlds/w1").json()["metadata"] == {"data": {"presets": {"ohlcv": 1}}, "more": [1, 2]}


def test_world_id_that_is_taken_is_a_conflict(gateway: Caller) -> None:
    create(gateway, "w1")

    again = gateway.post("/worlds", {"id": "w1"})

    assert (again.status, again.code) == (409, "already-exists")


def test_put_keeps_what_the_body_leaves_out(gateway: Caller) -> None:
    create(gateway, "w1", name="One", owner="desk")

    changed = gateway.send("PUT", "/worlds/w1", b'{"name": "Two"}').json()

    assert (changed["name"], changed["owner"]) == ("Two", "desk")


def test_edit_of_an_older_state_than_the_present_is_refused(gateway: Caller) -> None:
    seen = create(gateway, "w1")["etag"]
    gateway.send("PATCH", "/worlds/w1", b'{"name": "Two"}')

    late = gateway.send("PATCH", "/worlds/w1", b'{"name": "Three"}', if_match=f'"{seen}"')

    assert (late.status, late.code) == (412, "etag-mismatch")
    assert gateway.get("/worlds/w1").json()["name"] == "Two"


@pytest.mark.parametrize("change", [b'{"id": "w2"}', b'{"lease_ms": 10}', b'{"name": 3}', b'{"name": null}'])
def test_edit_that_cannot_be_made_names_the_field(gateway: Caller, change: bytes) -> None:
    create(gateway, "w1")

    reply = gateway.send("PATCH", "/worlds/w1", change)

    assert (reply.status, reply.code) == (422, "input-invalid")
    assert reply.json()["field"] in change.decode()


def test_worlds_are_paged_by_cursor(gateway: Caller) -> None:
    for name in ("a", "b", "c"):
        create(gateway, name)

    first = gateway.get("/worlds?limit=2").json()
    second = gateway.get(f"/worlds?limit=2&cursor={first['next_cursor']}").json()

    assert [world["id"] for world in first["worlds"]] == ["a", "b"]
    assert [world["id"] for world in second["worlds"]] == ["c"]
    assert second["next_cursor"] == ""


def test_worlds_are_filtered_by_owner_and_state(gateway: Caller) -> None:
    create(gateway, "a", owner="desk")
    create(gateway, "b")

    assert [world["id"] for world in gateway.get("/worlds?owner=desk").json()["worlds"]] == ["a"]
    assert gateway.get("/worlds?state=DELETED").json()["worlds"] == []


def test_token_sees_only_its_worlds(gateway: Caller) -> None:
    create(gateway, "a")
    create(gateway, "b")
    limited = machine("gateway", worlds=("a",))

    listed = limited.get("/worlds").json()["worlds"]

    assert [world["id"] for world in listed] == ["a"]
    assert limited.get("/worlds/b").code == "world-not-found"
    assert limited.get("/worlds/b").content.replace(b"'b'", b"'x'").replace(b'"b"', b'"x"') == limited.get(
        "/worlds/x"
    ).content.replace(b"'x'", b"'x'")


def test_machines_cannot_archive_a_world(gateway: Caller) -> None:
    create(gateway, "w1")

    reply = gateway.delete("/worlds/w1")

    assert (reply.status, reply.code) == (403, "permission-denied")
    assert World.objects.get(id="w1").state == World.State.ACTIVE


def test_description_holds_the_policy_as_text_and_in_words(world: World, gateway: Caller) -> None:
    described = gateway.get("/worlds/w1/describe").json()

    assert described["policy"]["yaml"].startswith("world: w1")
    assert "An instance is eligible if" in described["policy"]["text"]
    assert described["world"]["policy_version"] == 1
