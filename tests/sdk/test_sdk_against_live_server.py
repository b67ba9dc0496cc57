"""Gates that listen to a real server."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.sdk.async_client import AsyncWorldsClient
from qmtl_worlds.sdk.async_gate import AsyncOrderGate
from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.line import LineSettings
from qmtl_worlds.sdk.verdict import GateRules, GateStatus
from tests.unit.embedded.waiting import eventually
from tests.worlds.factories import POLICY, act_of, put_policy, shell
from tests.worlds.steps import first_apply
from worlds.models import ApiToken, GateHold, RunnerSession, World
from worlds.services.holds import freeze, unfreeze
from worlds.services.sessions import connected_sessions, spread_of
from worlds.services.tokens import revoke_token
from worlds.stores.clock import database_now

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "order_gate.py"
TokenOf = Callable[[str], str]
FLAT = POLICY.replace(
    "{{on_promote: carry, on_demote: carry}}", "{{on_promote: flat_then_enable, on_demote: disable_then_flat}}"
)


@contextmanager
def gate_of(
    address: str, token: str, told: Callable[[InstanceKey], object] = str, *, stream: bool = True
) -> Iterator[OrderGate]:
    """Yield a running gate of the strategy ``good``."""
    rules = GateRules(line=LineSettings(client_id="test:good", stream=stream))
    with WorldsClient(address, token) as client:
        gate = OrderGate(client, world_id="w1", strategy_id="good", sides=["long"], rules=rules)
        with gate.on_flatten(told):
            yield gate


def soon(is_so: Callable[[], bool]) -> None:
    assert eventually(is_so, within_seconds=30)


def test_gate_follows_a_freeze_and_its_end_by_the_stream_alone(
    server: str, token_of: TokenOf, trading: World, alice: User
) -> None:
    with gate_of(server, token_of("runner")) as gate:
        ready = gate.wait_until_ready(30)
        opened = gate.check("long")
        freeze(world_id="w1", act=act_of(alice))
        soon(lambda: gate.check("long").reason == "freeze")
        exits = gate.check("long", reduces=True).allowed
        unfreeze(world_id="w1", act=act_of(alice))
        soon(lambda: gate.check("long").allowed)
        connected = gate.counts.connected
        soon(lambda: RunnerSession.objects.filter(client_id="test:good", connection="stream").exists())

    assert (ready, opened.allowed, exits) == (True, True, True)
    assert opened.weight == pytest.approx(0.3)
    assert (connected, gate.counts.refused) == (1, 0)


def test_gate_that_polls_is_among_the_runners_and_shows_how_long_a_change_took(
    server: str, token_of: TokenOf, trading: World, alice: User
) -> None:
    with gate_of(server, token_of("runner"), stream=False) as gate:
        gate.wait_until_ready(30)
        soon(RunnerSession.objects.filter(client_id="test:good", connection="poll").exists)
        freeze(world_id="w1", act=act_of(alice))
        soon(RunnerSession.objects.filter(sequence=World.objects.get().sequence).exists)

    world = World.objects.get()
    spread = spread_of(world, connected_sessions(world, now=database_now()))
    assert (spread.connected, spread.holding, spread.slowest_client) == (1, 1, "test:good")
    assert spread.slowest_ms is not None
    assert 0 < spread.slowest_ms < 20_000


def test_gate_on_asyncio_hears_the_same(server: str, token_of: TokenOf, trading: World, alice: User) -> None:
    def freeze_now() -> None:
        freeze(world_id="w1", act=act_of(alice))
        connection.close()

    async def story() -> None:
        client = AsyncWorldsClient(server, token)
        async with AsyncOrderGate(client, world_id="w1", strategy_id="good", sides=["long"]) as gate:
            assert await gate.wait_until_ready(30)
            opened = gate.check("long").allowed
            await asyncio.to_thread(freeze_now)
            for _ in range(3000):
                if not gate.check("long").allowed:
                    break
                await asyncio.sleep(0.01)

            assert (opened, gate.check("long").reason) == (True, "freeze")
            assert await client.lease_seconds("w1") == 1.0

    token = token_of("runner")
    asyncio.run(story())


def test_wait_for_a_flat_position_reaches_the_program_and_ends_by_its_word(
    server: str, token_of: TokenOf, world: World, alice: User, bob: User
) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=FLAT)
    first_apply(world, alice, bob)
    told: list[InstanceKey] = []

    with gate_of(server, token_of("runner"), told.append) as gate:
        gate.wait_until_ready(30)
        waiting = gate.check("long").reason
        soon(lambda: len(told) == 1)
        answer = gate.acknowledge_flat("long")
        soon(lambda: gate.check("long").allowed)

    assert (waiting, answer["waiting"]) == ("awaiting_flat", [])
    assert told == [InstanceKey.from_text("good|long")]
    assert list(GateHold.objects.values_list("scope", flat=True)) == ["better|long"]


def test_gate_closes_when_its_token_is_revoked(server: str, token_of: TokenOf, trading: World) -> None:
    World.objects.filter(id="w1").update(lease_ms=60_000)

    with gate_of(server, token_of("runner")) as gate:
        gate.wait_until_ready(30)
        opened = gate.check("long").allowed
        revoke_token(token_id=ApiToken.objects.get().id, act=shell())
        soon(lambda: not gate.check("long").allowed)

        assert (opened, gate.status) == (True, GateStatus.ERROR)


def test_gate_with_a_token_that_is_no_runners_never_opens(server: str, token_of: TokenOf, trading: World) -> None:
    with gate_of(server, token_of("gateway")) as gate:
        gate.wait_until_ready(30)

        assert not gate.check("long").allowed
        assert gate.check("long").reason == "expired"


def test_example_sends_its_orders_through_a_real_gate(
    server: str, token_of: TokenOf, trading: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_text(token_of("runner"))

    runpy.run_path(str(EXAMPLE))["main"](server, str(file), "w1", "good")

    assert capsys.readouterr().out.splitlines() == [
        "to the venue: 30 AAPL long",
        "to the venue: 40 AAPL long",
        "gate: READY, entries: active",
    ]
