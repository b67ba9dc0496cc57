"""The server is stopped or killed: gates close by their leases, and open again only after fresh contact."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.line import LineSettings
from qmtl_worlds.sdk.verdict import GateRules
from tests.journeys.processes import Server, serve
from tests.unit.embedded.waiting import eventually
from worlds.models import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.fault]
LEASE = 1.0
TokenOf = Callable[[str], str]


@pytest.fixture
def web(valkey_server: str, tmp_path: Path) -> Iterator[Server]:
    """A web process of its own on the test's database."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with serve(tmp_path) as running:
        running.port = port
        start(running)
        yield running


def start(web: Server) -> None:
    """Start it and wait until it listens."""
    web.start("web")
    assert eventually(lambda: listens(web.port), within_seconds=90), web.logs()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def contacts(gate: OrderGate) -> int:
    return gate.counts.taken + gate.counts.renewed + gate.counts.polls


def closes_within_its_lease(gate: OrderGate, since: float) -> bool:
    """Tell whether the gate closes, by permissions that all end at most a lease after ``since``."""
    closed = eventually(lambda: not gate.check("long").allowed, within_seconds=60)
    return closed and gate.deadline <= since + LEASE + 0.5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "poll"])
def test_gate_outlives_no_server(web: Server, token_of: TokenOf, trading: World, *, stream: bool) -> None:
    rules = GateRules(line=LineSettings(stream=stream))
    client = WorldsClient(f"http://127.0.0.1:{web.port}", token_of("runner"))
    gate = OrderGate(client, world_id="w1", strategy_id="good", sides=["long"], rules=rules)

    def opens() -> bool:
        return eventually(lambda: gate.check("long").allowed, within_seconds=60)

    with client, gate:
        opened = opens()
        stopped_at = boot_time()
        web.running["web"].send_signal(signal.SIGSTOP)
        closed_by_stop = closes_within_its_lease(gate, stopped_at)
        still_closed = not eventually(lambda: gate.check("long").allowed, within_seconds=LEASE)
        before = contacts(gate)
        web.running["web"].send_signal(signal.SIGCONT)
        opened_again = opens() and contacts(gate) > before

        killed_at = boot_time()
        web.kill("web")
        closed_by_kill = closes_within_its_lease(gate, killed_at)
        before = contacts(gate)
        start(web)
        opened_at_last = opens() and contacts(gate) > before

    assert (opened, closed_by_stop, still_closed, opened_again) == (True, True, True, True), web.logs()
    assert (closed_by_kill, opened_at_last) == (True, True), web.logs()
