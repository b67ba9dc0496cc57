"""What a web process reads again after a change: as little as may have changed, and the same as a whole reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.contrib.auth.models import User

from tests.worlds.factories import shell
from tests.worlds.overriding import CAPPED, OUT, lay
from tests.worlds.steps import BEST, GOOD, approve_now, first_apply, go_on, pass_drain, wait_with_increase
from worlds.live import loading
from worlds.live.snapshot import Entries, WorldSnapshot
from worlds.models import ApplyRun, World
from worlds.services.binding import unbind
from worlds.services.gate_facts import read_world, with_entries

pytestmark = pytest.mark.django_db
Follow = Callable[[WorldSnapshot], WorldSnapshot]


@pytest.fixture
def follow(world: World, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Read on from a state without reading every instance, and see that it is what a whole reading says."""

    def read(held: WorldSnapshot) -> WorldSnapshot:
        with monkeypatch.context() as patch:
            patch.setattr(loading, "entry_facts", _never)
            new, _ = loading.load_world(world.id, held=held)
        whole, _ = loading.load_world(world.id)
        assert (new.entries, new.facts) == (whole.entries, whole.facts)
        return new

    return read


def test_apply_is_followed_by_reading_only_the_members_of_both_sets(
    world: World, alice: User, bob: User, follow: Follow
) -> None:
    run = wait_with_increase(world, alice, bob)
    held, _ = loading.load_world(world.id)
    seen = [(held.facts.generation, held.entries[GOOD].weight > 0, held.entries[BEST].weight > 0)]

    approve_now(world, run, bob)
    for _ in range(6):
        held = follow(held)
        pass_drain(run)
        run = go_on(world, run.run_id)
        seen.append((held.facts.generation, held.entries[GOOD].weight > 0, held.entries[BEST].weight > 0))

    assert run.state == "done"
    assert (seen[0], seen[-1]) == ((1, True, False), (2, False, True))


def test_override_is_followed_by_reading_one_instance(world: World, alice: User, bob: User, follow: Follow) -> None:
    first_apply(world, alice, bob)
    held, _ = loading.load_world(world.id)

    lay(world, alice, CAPPED)
    capped = follow(held)
    lay(world, alice, OUT)
    leaving = follow(capped)
    go_on(world, ApplyRun.objects.latest("id").run_id)
    left = follow(leaving)

    assert [one.entries[GOOD].cap for one in (held, capped)] == [1.0, CAPPED.weight]
    assert (leaving.entries[GOOD].cap, left.entries[GOOD].weight) == (0.0, 0.0)


def test_nothing_is_kept_of_a_reading_that_never_came_out_whole(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    held, _ = loading.load_world(world.id)
    reading = read_world(world_id=world.id)
    nothing: Entries = {}
    torn = WorldSnapshot(with_entries(replace(reading, facts=replace(reading.facts, confirmed=False)), nothing))

    whole, _ = loading.load_world(world.id, held=torn)

    assert whole.facts.confirmed
    assert whole.entries == held.entries


def test_withdrawal_is_followed_by_reading_every_instance(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    held, _ = loading.load_world(world.id)
    unbind(world_id=world.id, strategy_id="good", side=None, act=shell())

    new, _ = loading.load_world(world.id, held=held)

    whole, _ = loading.load_world(world.id)
    assert (new.entries, new.facts) == (whole.entries, whole.facts)


def _never(*, world: World) -> None:
    raise AssertionError(f"every instance of {world.id} was read")
