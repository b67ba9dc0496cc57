"""Two web processes on one PostgreSQL and one Valkey, of which one is killed while everybody asks and listens."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.line import LineSettings
from qmtl_worlds.sdk.verdict import GateRules
from tests.journeys.processes import Server, serve
from tests.live.both_servers import STRATEGY, WORLD, Both, Seen, poll_until, stream_until
from tests.unit.embedded.waiting import eventually
from tests.worlds.factories import act_of, shell
from tests.worlds.steps import first_apply
from worlds.models import World
from worlds.selectors import position_of
from worlds.services.holds import freeze, unfreeze
from worlds.services.tokens import create_token

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.postgres,
    pytest.mark.timeout(180),
]
POLLS, STREAMS, GATES = 4, 4, 2
CHANGES = 20
KILLED_BEHIND = 10
PAUSE_SECONDS = 0.15


@pytest.fixture
def servers(valkey_server: str, tmp_path: Path) -> Iterator[list[Server]]:
    """Two web processes that answer."""
    with ExitStack() as stack:
        running = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            server = stack.enter_context(serve(folder))
            with socket.create_server(("127.0.0.1", 0)) as found:
                server.port = found.getsockname()[1]
            server.start("web")
            running.append(server)
        for server in running:
            assert eventually(partial(_listens, server.port), within_seconds=90), server.logs()
        yield running


@dataclass(slots=True)
class Load:
    """Everybody who asks and listens, every second one at the other server first."""

    polls: list[Both]
    streams: list[Both]
    gated: list[Both]
    gates: list[OrderGate] = field(default_factory=list)
    fallen: list[tuple[Position, Position]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def everyone(self) -> list[Seen]:
        return [source.seen for source in (*self.polls, *self.streams, *self.gated)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask and listen; gates are ready."""
        self.gates = [_gate(source, stream=number < GATES) for number, source in enumerate(self.gated)]
        work = [
            *(threading.Thread(target=poll_until, args=(self.over, source)) for source in self.polls),
            *(threading.Thread(target=stream_until, args=(self.over, source)) for source in self.streams),
            threading.Thread(target=self._watch),
        ]
        for thread in work:
            thread.start()
        for gate in self.gates:
            gate.start()
        try:
            assert all(gate.wait_until_ready(30) for gate in self.gates)
            yield
        finally:
            self.over.set()
            for gate in self.gates:
                gate.stop()
            for thread in work:
                thread.join()

    def is_at(self, end: Position) -> bool:
        """Tell whether everybody has heard of the last change."""
        told = [source.seen.told for source in (*self.polls, *self.streams)]
        return all(gate.position == end for gate in self.gates) and all(one and one[-1][2] == end for one in told)

    def _watch(self) -> None:
        """Note each time that a gate goes back behind what it had."""
        highest = [Position(0, 0, 0) for _ in self.gates]
        while not self.over.wait(0.002):
            for number, gate in enumerate(self.gates):
                position = gate.position or highest[number]
                if position < highest[number]:
                    self.fallen.append((highest[number], position))
                highest[number] = position


def test_clients_of_a_server_that_is_killed_go_on_at_the_other_and_lose_nothing(
    servers: list[Server], world: World, alice: User, bob: User
) -> None:
    first_apply(world, alice, bob)
    token = create_token(role="runner", name="runner", act=shell()).text
    addresses = [f"http://127.0.0.1:{server.port}" for server in servers]
    polls, streams, gated = (
        [Both(addresses, token, first=number % 2) for number in range(count)] for count in (POLLS, STREAMS, 2 * GATES)
    )
    load = Load(polls, streams, gated)

    with load.running():
        committed = _change_and_kill(servers[0], alice, load.over)
        arrived = eventually(lambda: load.is_at(committed[-1]), within_seconds=10)
        opened = eventually(lambda: all(gate.check("long").allowed for gate in load.gates), within_seconds=10)
    _tell(load, committed)

    assert (arrived, opened, load.fallen) == (True, True, []), servers[1].logs()
    assert [failure for seen in load.everyone for failure in seen.failed] == []
    assert [seen.falls for seen in load.everyone if seen.falls] == []
    assert all(source.seen.moved for source in (*load.polls[::2], *load.streams[::2]))
    assert all(_goes_on(*one) for source in load.streams for one in source.seen.resumed)
    assert [_skipped(source.seen, committed) for source in load.streams] == [[]] * STREAMS


def _change_and_kill(server: Server, alice: User, over: threading.Event) -> list[Position]:
    """Commit changes, kill the server right behind one, go on, and return where the world was after each."""
    committed = []
    for number in range(CHANGES):
        (freeze, unfreeze)[number % 2](world_id=WORLD, act=act_of(alice))
        committed.append(position_of(World.objects.get(id=WORLD)))
        if number == KILLED_BEHIND:
            server.kill("web")
        over.wait(PAUSE_SECONDS)
    return committed


def _goes_on(last_seen: Position, kind: str, position: Position) -> bool:
    """Tell whether a stream went on behind what was heard, or began anew with nothing older."""
    return position == last_seen if kind == "heartbeat" else position >= last_seen


def _gate(source: Both, *, stream: bool) -> OrderGate:
    rules = GateRules(line=LineSettings(stream=stream))
    return OrderGate(source, world_id=WORLD, strategy_id=STRATEGY, sides=["long"], rules=rules)


def _skipped(seen: Seen, committed: list[Position]) -> list[Position]:
    """Return what was neither told nor overtaken by a snapshot, of all that was committed since the stream began."""
    told = [position for _, _, position in seen.told]
    snapshots = [position for _, kind, position in seen.told if kind == "snapshot"]
    return [one for one in committed if one > told[0] and one not in told and not any(at > one for at in snapshots)]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tell(load: Load, committed: list[Position]) -> None:
    resumed = [kind for source in load.streams for _, kind, _ in source.seen.resumed]
    counts = {
        "changes": len(committed),
        "reads": sum(len(source.seen.told) for source in load.polls),
        "events": sum(len(source.seen.told) for source in load.streams),
        "moved to the other server": sum(seen.moved for seen in load.everyone),
        "failed": sum(len(seen.failed) for seen in load.everyone),
        "falls": sum(seen.falls for seen in load.everyone),
        "older at the other server": sum(seen.older_elsewhere for seen in load.everyone),
        "resumed with what was missed": resumed.count("heartbeat"),
        "resumed with a snapshot": resumed.count("snapshot"),
        "not told one by one": sum(len(_skipped(source.seen, committed)) for source in load.streams),
    }
    sys.stdout.write("".join(f"\n{name}: {count}" for name, count in counts.items()) + "\n")
