"""Activations from memory: the same answers as from the rows, and closed where the rows are silent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from qmtl_worlds.contracts.clock import boot_time
from tests.api.callers import machine
from tests.live.asgi import NOT_HOT, ask
from tests.live.conftest import Headers, bearer
from tests.worlds.factories import act_of, shell
from tests.worlds.steps import BETTER, first_apply
from worlds.live import loading
from worlds.live.app import Live
from worlds.live.store import Confirmed
from worlds.models import ApiToken, World
from worlds.services.holds import freeze, unfreeze
from worlds.services.kill_follow_up import follow_up_kills
from worlds.services.kills import kill
from worlds.services.tokens import revoke_token

GOOD = "/worlds/w1/activation?strategy_id=good&side=long"
CatchUp = Callable[[], None]


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> World:
    """A world whose first set is applied."""
    first_apply(world, alice, bob)
    return world


@pytest.mark.parametrize("strategy_id", ["good", "better", "bad", "nobody-knows-it"])
def test_answer_from_memory_is_the_answer_from_the_rows(
    live: Live, trading: World, runner: Headers, strategy_id: str
) -> None:
    path = f"/worlds/w1/activation?strategy_id={strategy_id}&side=long"

    answer = ask(live, path, **runner)

    assert answer.json() == machine("runner").get(f"{path}&consistent=true").json()
    assert answer.headers["etag"] == f'"{answer.json()["etag"]}"'
    assert answer.headers["cache-control"] == "no-store"


def test_active_answer_has_a_lease_and_a_renewal_costs_no_body(live: Live, trading: World, runner: Headers) -> None:
    first = ask(live, GOOD, **runner)

    again = ask(live, GOOD, **runner, if_none_match=first.headers["etag"])

    assert (first.status, first.json()["active"]) == (200, True)
    assert (again.status, again.body) == (304, b"")
    assert 0 < int(first.headers["lease-ms"]) <= trading.lease_ms
    assert 0 < int(again.headers["lease-ms"]) <= trading.lease_ms


def test_reading_never_lengthens_a_lease(live: Live, trading: World, runner: Headers) -> None:
    ask(live, GOOD, **runner)
    held = live.store.worlds["w1"]
    held.confirmed = Confirmed(held.confirmed.snapshot, boot_time() - 4.5)

    leases = [int(ask(live, GOOD, **runner).headers["lease-ms"]) for _ in range(3)]

    assert all(lease <= 500 for lease in leases)


def test_freeze_and_unfreeze_are_seen_in_turn(
    live: Live, trading: World, alice: User, runner: Headers, catch_up: CatchUp
) -> None:
    gates = [ask(live, GOOD, **runner).json()["gate"]]

    for verb in (freeze, unfreeze):
        verb(world_id="w1", act=act_of(alice))
        catch_up()
        gates.append(ask(live, GOOD, **runner).json()["gate"])

    assert gates == ["open", "reduce_only", "open"]


def test_state_that_is_not_confirmed_is_closed_and_says_so(live: Live, trading: World, runner: Headers) -> None:
    ask(live, GOOD, **runner)
    live.keeper.stop()
    held = live.store.worlds["w1"]
    held.confirmed = Confirmed(held.confirmed.snapshot, boot_time() - 5.1)

    answer = ask(live, GOOD, **runner)

    body = answer.json()
    assert (answer.status, answer.headers["lease-ms"]) == (200, "0")
    assert (body["active"], body["weight"], body["gate"]) == (False, 0.0, "reduce_only")
    assert body["reason"] == "unconfirmed"


def test_without_the_database_answers_turn_closed_and_open_again_with_it(
    live: Live, trading: World, runner: Headers, catch_up: CatchUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(live, GOOD, **runner)
    held = live.store.worlds["w1"]

    with monkeypatch.context() as cut:
        cut.setattr("worlds.live.keeper.positions_of", _unreachable)
        catch_up()
        confirmed_at = held.confirmed.at
        catch_up()
        unchanged = held.confirmed.at == confirmed_at
    catch_up()

    assert unchanged
    assert held.confirmed.at > confirmed_at


def test_older_state_never_replaces_a_newer_one(live: Live, trading: World, alice: User, runner: Headers) -> None:
    ask(live, GOOD, **runner)
    live.keeper.stop()
    held = live.store.worlds["w1"]
    old = held.confirmed.snapshot
    freeze(world_id="w1", act=act_of(alice))
    new, started = loading.load_world("w1", held=old)
    held.replace(new, at=started)

    held.replace(old, at=boot_time())

    assert held.confirmed.snapshot is new


def test_world_is_frozen_and_killed_without_reading_an_instance_again(
    live: Live, trading: World, alice: User, runner: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(live, GOOD, **runner)
    live.keeper.stop()
    old = live.store.worlds["w1"].confirmed.snapshot
    freeze(world_id="w1", act=act_of(alice))
    unfreeze(world_id="w1", act=act_of(alice))
    kill(world_id="w1", act=act_of(alice))
    follow_up_kills(act=shell())
    with monkeypatch.context() as patch:
        patch.setattr(loading, "entry_facts", _never)

        new, _ = loading.load_world("w1", held=old)

    whole, _ = loading.load_world("w1")
    assert (new.entries, new.facts) == (whole.entries, whole.facts)
    assert new.position.sequence >= old.position.sequence + 2
    assert new.prepared(BETTER, now=boot_time()).envelope.gate == "closed"


def test_data_that_turns_stale_closes_by_itself(live: Live, trading: World, runner: Headers) -> None:
    ask(live, GOOD, **runner)
    snapshot = live.store.worlds["w1"].confirmed.snapshot
    fresh_until = snapshot.entries[BETTER].fresh_until
    assert fresh_until is not None
    now = boot_time()
    turns = snapshot.prepared(BETTER, now=now).changes_at

    before = snapshot.prepared(BETTER, now=turns - 1).envelope
    after = snapshot.prepared(BETTER, now=turns + 1).envelope

    assert (before.gate, after.gate, after.reason) == ("open", "reduce_only", "mode")
    assert before.etag != after.etag
    assert (
        snapshot.lease_left_ms(snapshot.prepared(BETTER, now=turns - 1), now=turns - 1, confirmed_at=turns - 1) <= 1000
    )


def test_revoked_token_is_forgotten_with_the_next_look(
    live: Live, trading: World, runner: Headers, catch_up: CatchUp
) -> None:
    known = ask(live, GOOD, **runner).status
    revoke_token(token_id=ApiToken.objects.get().id, act=shell())

    catch_up()

    assert (known, ask(live, GOOD, **runner).status) == (200, NOT_HOT)


def test_token_that_expires_is_let_in_no_more(live: Live, trading: World, runner: Headers) -> None:
    ask(live, GOOD, **runner)
    header = runner["authorization"].encode()
    now = boot_time()

    assert live.tokens.find(header, now=now) is not None
    ApiToken.objects.update(expires_at=ApiToken.objects.get().created_at + timedelta(days=90))
    assert live.tokens.find(header, now=now + 91 * 86_400) is None


def test_token_of_one_strategy_learns_nothing_of_another(live: Live, trading: World) -> None:
    headers = bearer("runner", strategies=("better",))

    answer = ask(live, GOOD, **headers)

    assert (answer.json()["reason"], answer.json()["active"]) == ("unknown", False)


def test_token_of_another_world_is_left_to_django_to_refuse(live: Live, trading: World) -> None:
    World.objects.create(id="w2", created_at=trading.created_at, changed_at=trading.changed_at)

    assert ask(live, GOOD, **bearer("runner", worlds=("w2",))).status == NOT_HOT


def test_answers_for_tokens_that_are_no_runners_have_no_lease(live: Live, trading: World) -> None:
    answer = ask(live, GOOD, **bearer("gateway"))

    assert (answer.json()["active"], answer.headers["lease-ms"]) == (True, "0")


@pytest.mark.parametrize(
    "path",
    [
        "/worlds/w1/activation",
        "/worlds/w1/activation?strategy_id=good&consistent=true",
        "/worlds/w1/activation?strategy_id=good&strategy_id=better",
        "/worlds/w1/activation?strategy_id=%00",
        "/worlds/w1/activation?strategy_id=good&side=up",
        "/worlds/none/activation?strategy_id=good",
        "/worlds/w1/describe",
    ],
)
def test_everything_else_goes_to_django(live: Live, trading: World, runner: Headers, path: str) -> None:
    assert ask(live, path, **runner).status == NOT_HOT


def _unreachable(_world_ids: object) -> None:
    raise OperationalError("the server closed the connection")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_defect_in_a_job_does_not_end_the_keeping(
    live: Live, trading: World, runner: Headers, catch_up: CatchUp
) -> None:
    ask(live, GOOD, **runner)
    before = live.store.worlds["w1"].confirmed.at

    live.keeper.submit(_broken)
    catch_up()

    assert live.store.worlds["w1"].confirmed.at > before


def _broken() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("path", [GOOD, f"{GOOD}&client_id=r1", "/worlds/w1/activation?strategy_id=bad"])
@pytest.mark.parametrize("role", ["runner", "gateway"])
def test_shortest_way_gives_the_answer_of_the_long_one(live: Live, trading: World, path: str, role: str) -> None:
    headers = bearer(role)
    long = ask(live, path, **headers, x_request_id="long")
    etag = long.headers["etag"]
    known = ask(live, path, **headers, x_request_id="long", if_none_match=etag)

    short = ask(live, path, **headers)
    renewed = ask(live, path, **headers, if_none_match=etag)

    assert (short.status, short.body) == (200, long.body)
    assert (renewed.status, renewed.body) == (known.status, known.body) == (304, b"")
    for quick, slow in ((short, long), (renewed, known)):
        assert quick.headers.keys() == slow.headers.keys()
        assert {name: quick.headers[name] for name in ("etag", "cache-control")} == {
            name: slow.headers[name] for name in ("etag", "cache-control")
        }
        assert 0 <= int(quick.headers["lease-ms"]) <= int(slow.headers["lease-ms"])
        assert (int(quick.headers["lease-ms"]) > 0) == (role == "runner")


def test_shortest_way_is_left_when_the_state_is_not_confirmed_any_more(
    live: Live, trading: World, runner: Headers
) -> None:
    for _ in range(3):
        ask(live, GOOD, **runner)
    live.keeper.stop()
    held = live.store.worlds["w1"]
    held.confirmed = Confirmed(held.confirmed.snapshot, boot_time() - 5.1)

    answer = ask(live, GOOD, **runner)

    assert (answer.json()["reason"], answer.headers["lease-ms"]) == ("unconfirmed", "0")


def _never(*, world: World) -> None:
    raise AssertionError(f"every instance of {world.id} was read")
