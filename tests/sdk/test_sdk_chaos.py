"""Many gates behind a wire that fails in every way, while an operator closes and opens the world."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.async_client import AsyncWorldsClient
from qmtl_worlds.sdk.async_gate import AsyncOrderGate
from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.line import LineSettings
from qmtl_worlds.sdk.local_gate import LocalGate
from qmtl_worlds.sdk.verdict import GateRules
from tests.sdk.wild_wire import WildWire
from tests.worlds.factories import act_of
from worlds.models import World
from worlds.services.holds import freeze, unfreeze

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
LEASE = 1.0
SLACK = 0.001 * LEASE + 0.005
ASYNC_GATES = 12
SYNC_GATES = 12
SECONDS = 12.0
TokenOf = Callable[[str], str]


@dataclass(slots=True)
class Ledger:
    """When the world may have been open: from before each unfreeze to after the freeze that follows, by the clock."""

    began: float
    ended: list[tuple[float, float]] = field(default_factory=list)
    is_open: bool = True
    changes: int = 0

    def may_be_permitted(self, at: float) -> bool:
        """Tell whether a permission from an open time may still live."""
        if self.is_open:
            return True
        return any(began <= at <= ended + LEASE + SLACK for began, ended in self.ended[-10:])


@dataclass(slots=True)
class Findings:
    """What looking at gates found.

    ``late`` are gates that were open where no permission could live, ``fallen`` those that went back to an older state.
    """

    looks: int = 0
    open_looks: int = 0
    late: list[str] = field(default_factory=list)
    fallen: list[str] = field(default_factory=list)
    positions: dict[LocalGate, Position] = field(default_factory=dict)

    def follow(self, gate: LocalGate) -> None:
        """Note where a gate stands."""
        position = gate.position
        if position is None:
            return
        if position < self.positions.get(gate, position):
            self.fallen.append(f"{gate.client_id} from {self.positions[gate].text} to {position.text}")
        self.positions[gate] = position


def operate(ledger: Ledger, alice: User, dice: random.Random, over: threading.Event) -> None:
    """Freeze and unfreeze until it is over; it ends unfrozen."""
    while not over.wait(dice.choice([0.0, dice.uniform(0.1, 1.5)])):
        freeze(world_id="w1", act=act_of(alice))
        ledger.ended.append((ledger.began, boot_time()))
        ledger.is_open = False
        over.wait(dice.choice([0.0, dice.uniform(0.1, 2.0)]))
        ledger.began, ledger.is_open = boot_time(), True
        unfreeze(world_id="w1", act=act_of(alice))
        ledger.changes += 2
    connection.close()


def look(gates: list[LocalGate], ledger: Ledger, found: Findings, over: threading.Event) -> None:
    """Ask every gate for an entry, again and again."""
    while not over.wait(0.002):
        for gate in gates:
            permitted, at = ledger.may_be_permitted(boot_time()), boot_time()
            allowed = gate.check("long").allowed
            found.follow(gate)
            found.looks += 1
            found.open_looks += allowed
            if allowed and not permitted and not ledger.may_be_permitted(at):
                found.late.append(f"{gate.client_id} at {at:.3f}, held {gate.deadline:.3f}, {ledger.ended[-2:]}")


@contextmanager
def running(*work: Callable[[], None]) -> Iterator[None]:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def rules(number: int) -> GateRules:
    """Some gates only poll, and some are as patient with a silent stream as they may be."""
    patience = 0.95 * LEASE if number % 2 == 0 else None
    line = LineSettings(f"chaos-{number}", number % 5 != 4, lease_seconds=LEASE, read_timeout_seconds=patience)
    return GateRules(line=line)


async def storm(address: str, token: str, dice: random.Random, watch: Callable[[list[LocalGate]], None]) -> str:
    """Run gates behind a wild wire while ``watch`` lasts, let all come to the server's sequence, and return counts."""
    wire = WildWire(free_port(), urlsplit(address).port or 0, dice)
    carrying = asyncio.create_task(wire.run())
    url = f"http://127.0.0.1:{wire._port}"  # noqa: SLF001
    async with AsyncExitStack() as stack:
        listening = [
            await stack.enter_async_context(
                AsyncOrderGate(
                    AsyncWorldsClient(url, token), world_id="w1", strategy_id="good", sides=["long"], rules=one
                )
            )
            for one in map(rules, range(ASYNC_GATES))
        ]
        threaded = [
            OrderGate(WorldsClient(url, token), world_id="w1", strategy_id="good", sides=["long"], rules=one).start()
            for one in map(rules, range(SYNC_GATES))
        ]
        gates: list[LocalGate] = [*listening, *threaded]
        try:
            await asyncio.to_thread(watch, gates)
            wire.calm = True
            sequence = await asyncio.to_thread(sequence_now)
            agreed = await all_at(gates, sequence)
            told = [(one.client_id, one.position, one.check("long").reason, one.failure, one.counts) for one in gates]
        finally:
            for gate in threaded:
                await asyncio.to_thread(gate.stop)
    carrying.cancel()
    await asyncio.wait([carrying])
    await wire.close()
    assert agreed, (sequence, told)
    return tally(gates, wire.moods)


async def all_at(gates: list[LocalGate], sequence: int) -> bool:
    for _ in range(6_000):
        positions = [gate.position for gate in gates]
        if all(position and position.sequence == sequence for position in positions) and all(
            gate.check("long").allowed for gate in gates
        ):
            return True
        await asyncio.sleep(0.01)
    return False


def sequence_now() -> int:
    sequence = World.objects.get(id="w1").sequence
    connection.close()
    return sequence


def tally(gates: list[LocalGate], moods: Counter[str]) -> str:
    counts = [gate.counts for gate in gates]
    names = ("connected", "polls", "taken", "renewed", "refused")
    return ", ".join(
        [f"{name} {sum(getattr(one, name) for one in counts)}" for name in names]
        + [f"{mood} {count}" for mood, count in sorted(moods.items())]
    )


def hold_gates(server: str, token: str, alice: User, *, seconds: float, seed: int) -> None:
    """Storm, and assert that no gate was open where no permission could live; prints the counts."""
    ledger, found, over = Ledger(began=boot_time() - 60), Findings(), threading.Event()
    dice = random.Random(seed)  # noqa: S311 - no secret

    def watch(gates: list[LocalGate]) -> None:
        with running(lambda: operate(ledger, alice, dice, over), lambda: look(gates, ledger, found, over)):
            over.wait(seconds)
            over.set()

    counts = asyncio.run(storm(server, token, dice, watch))
    said = f"{ledger.changes} changes, {found.looks} looks, {found.open_looks} open, {len(found.late)} beyond the lease"
    sys.stdout.write(f"seed {seed}, {seconds:g} s: {said}; {counts}\n")
    assert found.late == []
    assert found.fallen == []
    assert ledger.changes > 0
    assert 0 < found.open_looks < found.looks


@pytest.mark.timeout(180)
def test_no_gate_is_open_beyond_its_lease_and_all_end_at_the_servers_sequence(
    server: str, token_of: TokenOf, trading: World, alice: User
) -> None:
    hold_gates(server, token_of("runner"), alice, seconds=SECONDS, seed=random.SystemRandom().randrange(10**6))


@pytest.mark.extended
@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_no_gate_is_open_beyond_its_lease_for_long(server: str, token_of: TokenOf, trading: World, alice: User) -> None:
    minutes = float(os.environ.get("QW_TEST_CHAOS_MINUTES", "3"))

    hold_gates(server, token_of("runner"), alice, seconds=60 * minutes, seed=1)
